"""Generated reviews: made by a seeded program, not by people, to try things out without data.

Every rating has a vocabulary of pseudo-words whose meaning does not last: a word is replaced after
a while, by a new one or by one that meant another rating. So text tells the rating, but what it
tells today only recent reviews show: a model that was fitted once decays.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.errors import UserError
from raclib.ingest.config import date_to_ms
from raclib.ingest.embedding import LINE
from raclib.ingest.tally import Tally
from raclib.tasks.amazon.config import GeneratedConfig
from raclib.tasks.amazon.reviews import COLUMNS

NUM_RATINGS = 5
WORDS_PER_RATING = 12
NUM_NEUTRAL_WORDS = 80
NUM_TOPICS, WORDS_PER_TOPIC = 8, 10
HALF_LIFE_YEARS = 1.75
# Share of replaced words that are followed by a word of another rating instead of a new one.
MOVED_SHARE = 0.3
TITLE_WORDS, MIN_TEXT_WORDS, MAX_TEXT_WORDS = 3, 11, 17
# Kinds of words in a text: of a rating, of the product's topic, neutral.
RATING_SHARE, TOPIC_SHARE = 0.55, 0.2
# Share of the rating words of a review that belong to its own rating; others are of any rating.
OWN_SHARE = 0.7
YEAR_MS = 365.25 * 86_400_000
BATCH_ROWS = 4096
_SYLLABLES = np.array([c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"])


def generate_reviews(config: GeneratedConfig, tally: Tally) -> Iterator[pa.Table]:
    """Yields generated reviews in time order, as `reviews.read_reviews` does.

    Args:
        config: How many, when, and the seed.
        tally: Counts what is made.

    Raises:
        UserError: if the end is not after the start.
    """
    start, end = date_to_ms(config.start), date_to_ms(config.end)
    if end <= start:
        raise UserError(f"generated.end: {config.end} is not after generated.start {config.start}")
    language = Language(config.seed, (end - start) / YEAR_MS)
    for first in range(0, config.num_reviews, BATCH_ROWS):
        num_rows = min(BATCH_ROWS, config.num_reviews - first)
        rng = np.random.default_rng([config.seed, first])
        # Each batch has its share of the span, so that batches need not know of each other.
        share = np.array([first, first + num_rows]) / config.num_reviews
        low, high = (start + (end - start) * share).astype(np.int64)
        time = np.sort(rng.integers(low, high, num_rows))
        yield _make_batch(language, rng, time, (time - start) / YEAR_MS, tally.num_lines)
        tally.num_lines += num_rows


class Language:
    """The words in use at any time.

    Args:
        seed: Seed of the words and of their lives.
        num_years: Years it must last.
    """

    def __init__(self, seed: int, num_years: float) -> None:
        rng = np.random.default_rng([seed, 2**32])
        num_slots = NUM_RATINGS * WORDS_PER_RATING
        expected = num_years * np.log(2) / HALF_LIFE_YEARS
        num_lives = int(expected + 8 * np.sqrt(expected) + 8)
        lives = rng.exponential(HALF_LIFE_YEARS / np.log(2), (num_slots, num_lives))
        # [slots, lives]: when a slot's word is replaced; one sorted line of all slots for search.
        self._stride = 2 * lives.sum(axis=1).max() + num_years
        self._ends = (
            np.cumsum(lives, axis=1) + self._stride * np.arange(num_slots)[:, None]
        ).ravel()
        self._words = np.arange(num_slots * (num_lives + 1)).reshape(num_slots, num_lives + 1)
        moved = rng.random(self._words.shape) < MOVED_SHARE
        slots = np.arange(num_slots)
        for life in range(1, num_lives + 1):
            ratings_away = rng.integers(1, NUM_RATINGS, num_slots)
            other = (slots + WORDS_PER_RATING * ratings_away) % num_slots
            self._words[:, life] = np.where(
                moved[:, life], self._words[other, life - 1], self._words[:, life]
            )
        self._num_lives, self._first_common = num_lives, self._words.size

    @cached_property
    def strings(self) -> pa.Array:
        """The word of each id."""
        num_words = self._first_common + NUM_NEUTRAL_WORDS + NUM_TOPICS * WORDS_PER_TOPIC
        # A permutation of all triples of syllables, so that similar ids do not look alike.
        code = (np.arange(num_words) * 387_420_489 + 271_828) % len(_SYLLABLES) ** 3
        first, second, third = np.unravel_index(code, (len(_SYLLABLES),) * 3)
        return pa.array(
            np.char.add(np.char.add(_SYLLABLES[first], _SYLLABLES[second]), _SYLLABLES[third])
        )

    def rating_words(
        self, rng: np.random.Generator, rating: np.ndarray, year: np.ndarray
    ) -> np.ndarray:
        """Random words `[N]` of ratings 0..4 at times in years since the start."""
        slot = rating * WORDS_PER_RATING + rng.integers(0, WORDS_PER_RATING, len(rating))
        life = np.searchsorted(self._ends, slot * self._stride + year) - slot * self._num_lives
        return self._words[slot, life]

    def topic_words(self, rng: np.random.Generator, topic: np.ndarray) -> np.ndarray:
        """Random words `[N]` of topics."""
        word = topic * WORDS_PER_TOPIC + rng.integers(0, WORDS_PER_TOPIC, len(topic))
        return self._first_common + NUM_NEUTRAL_WORDS + word

    def neutral_words(self, rng: np.random.Generator, num_words: int) -> np.ndarray:
        """Random words that mean nothing."""
        return self._first_common + rng.integers(0, NUM_NEUTRAL_WORDS, num_words)


def _make_batch(
    language: Language,
    rng: np.random.Generator,
    time: np.ndarray,
    year: np.ndarray,
    first_line: int,
) -> pa.Table:
    num_rows = len(time)
    rating = rng.integers(0, NUM_RATINGS, num_rows)
    lengths = rng.integers(MIN_TEXT_WORDS, MAX_TEXT_WORDS + 1, num_rows)
    topic = rng.integers(0, NUM_TOPICS, num_rows)
    extremity = np.abs(rating - 2)
    columns = {
        "rating": (rating + 1).astype(np.float32),
        "title": _write(language, rng, rating, year, topic, np.full(num_rows, TITLE_WORDS)),
        "text": _write(language, rng, rating, year, topic, lengths),
        "timestamp": time,
        # Strong opinions get a few votes more, buyers are a little kinder: weak hints.
        "helpful_vote": rng.poisson(1 + 0.4 * extremity).astype(np.float32),
        "verified_purchase": (rng.random(num_rows) < 0.6 + 0.05 * rating).astype(np.int8),
        LINE: first_line + np.arange(num_rows),
    }
    return pa.table(columns, schema=COLUMNS)


def _write(
    language: Language,
    rng: np.random.Generator,
    rating: np.ndarray,
    year: np.ndarray,
    topic: np.ndarray,
    lengths: np.ndarray,
) -> pa.Array:
    """A text `[N]` of `lengths[N]` words for each review."""
    review = np.repeat(np.arange(len(lengths)), lengths)
    meant = np.where(
        rng.random(len(review)) < OWN_SHARE,
        rating[review],
        rng.integers(0, NUM_RATINGS, len(review)),
    )
    kind = rng.random(len(review))
    words = np.select(
        [kind < RATING_SHARE, kind < RATING_SHARE + TOPIC_SHARE],
        [
            language.rating_words(rng, meant, year[review]),
            language.topic_words(rng, topic[review]),
        ],
        language.neutral_words(rng, len(review)),
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pc.binary_join(
        pa.ListArray.from_arrays(offsets, language.strings.take(pa.array(words))), " "
    )
