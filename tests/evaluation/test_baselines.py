"""The two lines nobody should lose to, against plain loops."""

import secrets

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus import Corpus, CorpusWriter, Field, open_corpus
from raclib.evaluation import baselines
from raclib.evaluation.baselines import neighbour_votes, recent_share, windowed_votes
from raclib.models.base.refit import LabelledRows
from raclib.retrieval.keys import KeySet


def share(labels, num_classes):
    """Frequencies with one more label, shared by all classes."""
    counts = np.bincount(labels, minlength=num_classes) + 1 / num_classes
    return counts / counts.sum()


def test_recent_share_looks_at_strictly_earlier_labels_only():
    time = np.array([1, 2, 2, 3, 4, 5])
    label = np.array([0, 1, 1, 1, 0, 0])
    found = recent_share(time, label, time, num_classes=2, num_recent=2)
    expected = [0.5 / 1, 0.5 / 2, 0.5 / 2, 2.5 / 3, 2.5 / 3, 1.5 / 3]
    np.testing.assert_allclose(found[:, 1], expected)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@given(
    known=st.lists(st.tuples(st.integers(0, 20), st.integers(-1, 3)), max_size=40).map(sorted),
    times=st.lists(st.integers(-1, 22), max_size=10),
    num_recent=st.integers(1, 12),
)
def test_recent_share_equals_a_plain_count(known, times, num_recent):
    time, label = np.array(known, dtype=np.int64).reshape(-1, 2).T
    found = recent_share(time, label, np.array(times, dtype=np.int64), 4, num_recent)
    assert found.shape == (len(times), 4)
    for mine, now in zip(found, times, strict=True):
        earlier = [value for when, value in known if when < now and value >= 0]
        np.testing.assert_allclose(mine, share(np.array(earlier[-num_recent:], dtype=int), 4))


@settings(deadline=None, max_examples=20)
@given(
    num_classes=st.sampled_from([2, 5]), lowest=st.sampled_from([0, -1]), seed=st.integers(0, 99)
)
def test_votes_equal_a_plain_search(num_classes, lowest, seed):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 60, 100))
    label = rng.integers(lowest, num_classes, 100)
    # Rows to predict have times of their own, and need not be in order.
    now = rng.integers(-1, 62, 50)
    keys = torch.from_numpy(rng.standard_normal((100, 8))).float()
    queries = torch.from_numpy(rng.standard_normal((50, 8))).float()
    corpus = KeySet(keys, torch.from_numpy(time))
    times = torch.from_numpy(now)
    found = neighbour_votes(corpus, label, queries, times, num_classes, 30, [5, 2])
    for row in range(50):
        hi = np.searchsorted(time, now[row])
        eligible = np.arange(max(0, hi - 30), hi)
        eligible = eligible[label[eligible] >= 0]
        best = eligible[(keys[eligible] - queries[row]).square().sum(1).argsort().numpy()]
        for num, votes in zip((5, 2), found, strict=True):
            np.testing.assert_allclose(votes[row], share(label[best[:num]], num_classes))


@pytest.fixture
def make_corpus(tmp_path):
    """Gives a corpus of keys and times, and its labels."""

    def make(num_rows: int, dim: int = 4) -> tuple[Corpus, LabelledRows]:
        rng, uri = np.random.default_rng(0), str(tmp_path / secrets.token_hex(4))
        fields = {"key": Field("float16", (dim,)), "time": Field("int64")}
        time = np.sort(rng.integers(0, num_rows, num_rows))
        with CorpusWriter(uri, fields, 2000) as writer:
            for lo in range(0, num_rows, 1000):
                part = time[lo : lo + 1000]
                keys = rng.standard_normal((len(part), dim)).astype(np.float16)
                writer.write({"key": keys, "time": part})
        label = rng.integers(-1, 3, num_rows).astype(np.int16)
        return open_corpus(uri), LabelledRows(None, label, time, time, 3)

    return make


@pytest.mark.parametrize("window", [70, 1200, 10_000])
def test_votes_of_stretches_are_those_of_all_keys(make_corpus, monkeypatch, window):
    corpus, data = make_corpus(5000)
    rows = np.random.default_rng(1).permutation(5000)[:400]
    rows[:2] = 0, 4999
    keys = KeySet.load(corpus)
    what = keys.keys[torch.from_numpy(rows)], torch.from_numpy(data.event[rows])
    expected = neighbour_votes(keys, data.label, *what, 3, window, [5, 1])
    monkeypatch.setattr(baselines, "STRETCH_ROWS", 1000)
    np.testing.assert_allclose(windowed_votes(corpus, data, rows, window, [5, 1]), expected)


def test_votes_hold_keys_of_a_stretch_only(make_corpus, monkeypatch, bytes_per_row):
    monkeypatch.setattr(baselines, "STRETCH_ROWS", 4096)

    def vote(num_rows):
        corpus, data = make_corpus(num_rows)
        rows = np.arange(0, num_rows, num_rows // 50)[:50]
        return lambda: windowed_votes(corpus, data, rows, 100, [5])

    assert bytes_per_row(vote, (40_000, 80_000)) < 4  # a key has 8, as it is stored


def test_rates_of_recent_labels_take_no_room_for_rows(bytes_per_row):
    def rates(num_rows):
        label, time = np.ones(num_rows, np.int16), np.arange(num_rows)
        return lambda: recent_share(time, label, time[::9999], 2, 100)

    assert bytes_per_row(rates) < 2
