"""No row at or after an example's time is ever read for it."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.batch import to_tensors
from raclib.retrieval.estimators import build_estimator
from raclib.retrieval.keys import KeySet
from raclib.tasks.amazon.config import (
    AmazonConfig,
    ModelConfig,
    RuleConfig,
)
from raclib.tasks.amazon.labels import RatingRule
from raclib.tasks.amazon.models import INPUTS, STANDARDIZED, build_model
from raclib.tasks.table.config import SplitConfig, TableRetrievalConfig
from raclib.tasks.table.history import TableHistory, input_statistics
from raclib.tasks.table.reader import TableReader
from raclib.training.noise import step_noise
from raclib.training.predict import classify_greedy
from raclib.training.step import RetrievalStep
from raclib.training.timer import Timer

CONFIG = AmazonConfig(
    rule=RuleConfig(cutoff="1970-01-02"),
    split=SplitConfig(window=7),
    model=ModelConfig(8, 2, 1, 2, 2, 4.0),
    retrieval=TableRetrievalConfig(num_draws=3, max_temperature=1.0),
)


class Corpus:
    """Forty reviews in arrays."""

    def __init__(self, time):
        rng = np.random.default_rng(0)
        num = len(time)
        self.arrays = {
            "time": time,
            "rating": rng.integers(1, 6, num).astype(np.float32),
            "embedding": rng.standard_normal((num, 6)).astype(np.float16),
            "key": rng.standard_normal((num, 4)).astype(np.float16),
            "helpful_vote": rng.poisson(1, num).astype(np.float32),
            "verified_purchase": rng.integers(0, 2, num).astype(np.int8),
        }

    def fetch(self, rows, fields):
        self.asked = fields
        return {name: self.arrays[name][rows] for name in fields}


def setting(time, history_rows):
    corpus = Corpus(time)
    reader = TableReader(corpus.fetch, INPUTS, RatingRule(CONFIG.rule))
    keys = torch.from_numpy(corpus.arrays["key"][history_rows]).float()
    key_set = KeySet(keys, torch.from_numpy(time[history_rows]), torch.from_numpy(history_rows))
    statistics = input_statistics(reader, np.arange(len(time)), STANDARDIZED, 0)
    model = build_model(CONFIG, statistics, 4, 2, with_context=True)
    return corpus, reader, TableHistory(key_set, reader, 7, with_inputs=False), model


@settings(max_examples=30, deadline=None)
@given(
    time=st.lists(st.integers(0, 25), min_size=40, max_size=40).map(
        lambda times: np.sort(np.array(times, np.int64))
    ),
    history=st.sets(st.integers(0, 39), min_size=1, max_size=40).map(
        lambda rows: np.array(sorted(rows), np.int64)
    ),
    seed=st.integers(0, 100),
)
def test_only_strictly_earlier_rows_of_the_history_are_read(time, history, seed):
    _, reader, reviews, model = setting(time, history)
    examples = np.arange(40)
    batch = to_tensors(reader.examples(examples), torch.device("cpu"))
    step = RetrievalStep(model, reviews, build_estimator("greedy", 1), CONFIG.retrieval, Timer())
    seen = []
    reviews_fetch = reviews.fetch

    def watch(batch, rows_MBS):
        seen.append(reviews.keys.row_ids(rows_MBS).numpy())
        return reviews_fetch(batch, rows_MBS)

    reviews.fetch = watch
    step(batch, step_noise(seed, 0, slice(None), 40, 1, 3), 1.0, 0.0)
    classify_greedy(model, reviews, batch, CONFIG.retrieval)
    for rows_MBS in seen:
        for rows_BS in rows_MBS:
            drawn = rows_BS >= 0
            assert np.isin(rows_BS[drawn], history).all()
            assert (time[rows_BS] < time[:, None])[drawn].all()
            # The window: no more than seven rows of the history lie between it and the example.
            last = np.searchsorted(time[history], time)
            place = np.searchsorted(history, rows_BS)
            assert (place >= last[:, None] - 7)[drawn].all()
            eligible = np.minimum(last, 7)
            assert (drawn.sum(axis=1) == np.minimum(eligible, 3)).all()


def test_retrieved_labels_follow_the_rule_of_their_own_day():
    day = 86_400_000
    time = np.arange(40, dtype=np.int64) * day // 10
    corpus, _, reviews, _ = setting(time, np.arange(40))
    rows = torch.arange(40).view(2, 10, 2)
    labels = reviews.fetch({}, rows)["label"].flatten().numpy()
    rating = corpus.arrays["rating"]
    np.testing.assert_array_equal(labels, np.where(time < day, rating > 3, rating > 1))


def test_labels_alone_are_read_where_labels_alone_are_retrieved():
    corpus, _, reviews, _ = setting(np.arange(40, dtype=np.int64), np.arange(40))
    assert set(reviews.fetch({}, torch.zeros(1, 2, 3, dtype=torch.int64))) == {"label"}
    assert corpus.asked == ("rating", "time")
