"""Generated reviews: reproducible, telling their rating, in words that do not last."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import RidgeClassifier

from raclib.errors import UserError
from raclib.ingest.config import date_to_ms
from raclib.ingest.tally import Tally
from raclib.tasks.amazon.config import GeneratedConfig
from raclib.tasks.amazon.generated import BATCH_ROWS, WORDS_PER_RATING, Language, generate_reviews
from raclib.tasks.amazon.reviews import COLUMNS


def generate(**changes) -> pa.Table:
    return pa.concat_tables(generate_reviews(GeneratedConfig(**changes), Tally()))


@pytest.fixture(scope="module")
def reviews() -> pa.Table:
    return generate()


@pytest.fixture(scope="module")
def words(reviews):
    texts = [f"{row['title']} {row['text']}" for row in reviews.to_pylist()]
    return HashingVectorizer(n_features=2**12, norm="l2").transform(texts)


def fitted_accuracy(words, rating, fit: slice, test: slice) -> float:
    model = RidgeClassifier().fit(words[fit], rating[fit])
    return model.score(words[test], rating[test])


def test_is_a_table_of_reviews_in_time_order(reviews):
    assert reviews.schema == COLUMNS
    assert len(reviews) == 24_000
    time = reviews["timestamp"].to_numpy()
    assert (np.diff(time) >= 0).all()
    assert len(np.unique(time)) > 23_900
    assert date_to_ms("2010-01-01") <= time[0] and time[-1] < date_to_ms("2018-01-01")
    assert abs(np.median(time) - date_to_ms("2014-01-01")) < 30 * 86_400_000
    assert (reviews["_line"].to_numpy() == np.arange(24_000)).all()


def test_ratings_are_about_uniform(reviews):
    shares = np.bincount(reviews["rating"].to_numpy().astype(int), minlength=6)[1:] / len(reviews)
    assert np.abs(shares - 0.2).max() < 0.02


def test_texts_have_12_to_20_words(reviews):
    lengths = np.array([len(text.as_py().split()) for text in reviews["text"]])
    titles = np.array([len(text.as_py().split()) for text in reviews["title"]])
    assert (lengths + titles).min() >= 12
    assert (lengths + titles).max() <= 20


def test_same_seed_same_reviews_another_seed_others(reviews):
    assert generate() == reviews
    assert generate(seed=1)["text"] != reviews["text"]


def test_comes_in_batches_and_counts(reviews):
    tally = Tally()
    sizes = [len(batch) for batch in generate_reviews(GeneratedConfig(num_reviews=9000), tally)]
    assert sizes == [BATCH_ROWS, BATCH_ROWS, 9000 - 2 * BATCH_ROWS]
    assert tally.num_rows == 9000


def test_text_tells_the_rating_within_a_period(words, reviews):
    rating = reviews["rating"].to_numpy()
    accuracy = fitted_accuracy(words, rating, slice(0, 3000, 2), slice(1, 3000, 2))
    assert accuracy > 0.7


def test_what_was_fitted_once_decays_and_what_is_recent_does_not(words, reviews):
    rating = reviews["rating"].to_numpy()
    last = slice(23_000, 24_000)
    once = fitted_accuracy(words, rating, slice(0, 6000), last)
    recent = fitted_accuracy(words, rating, slice(18_000, 23_000), last)
    assert once < 0.45
    assert recent > 0.65


def test_words_are_replaced_with_a_half_life_and_some_move_to_other_ratings():
    language, rng = Language(seed=0, num_years=8), np.random.default_rng(0)

    def vocabulary(rating: int, year: float) -> set[int]:
        drawn = language.rating_words(rng, np.full(3000, rating), np.full(3000, year))
        return set(drawn.tolist())

    kept = [len(vocabulary(r, 2.0) & vocabulary(r, 3.75)) / WORDS_PER_RATING for r in range(5)]
    assert 0.35 < np.mean(kept) < 0.65
    moved = [vocabulary(r, 0.0) & vocabulary((r + 1) % 5, 6.0) for r in range(5)]
    assert sum(map(len, moved)) > 0


def test_an_end_before_the_start_is_an_error():
    with pytest.raises(
        UserError, match=r"generated\.end: 2009-01-01 is not after generated\.start"
    ):
        generate(end="2009-01-01")
