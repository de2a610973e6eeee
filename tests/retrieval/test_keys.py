"""Loading keys of a corpus, and which of them an example may draw."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from raclib.errors import UserError
from raclib.retrieval.keys import KeySet

Field = namedtuple("Field", "dtype shape")


class ToyCorpus:
    """Rows in memory, in shards of seven."""

    def __init__(self, keys, times):
        self.arrays = {"key": keys, "time": times, "label": times}
        self.fields = {name: Field(str(a.dtype), a.shape[1:]) for name, a in self.arrays.items()}

    def __len__(self):
        return len(self.arrays["time"])

    def iter_field(self, name):
        for start in range(0, len(self), 7):
            shard = self.arrays[name][start : start + 7].view()
            shard.flags.writeable = False
            yield start, shard


@pytest.fixture
def corpus():
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 40, 30))
    return ToyCorpus(rng.normal(size=(30, 4)).astype(np.float16), times)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_load_all(corpus, dtype):
    keys = KeySet.load(corpus, dtype=dtype)
    assert len(keys) == 30 and keys.rows_K is None
    assert_close(keys.keys, torch.from_numpy(corpus.arrays["key"]).to(dtype))
    assert keys.times_K.tolist() == corpus.arrays["time"].tolist()


def test_load_int8_is_near(corpus):
    keys = KeySet.load(corpus, dtype=torch.int8).keys
    exact = torch.from_numpy(corpus.arrays["key"]).float()
    error = (keys.values * keys.scales[:, None] - exact).abs()
    assert (error <= exact.abs().amax(1, keepdim=True) / 127 * 0.51).all()


@pytest.mark.parametrize("rows", [[], [0], [29], [2, 6, 7, 13, 14, 28], list(range(30))])
def test_load_subset(corpus, rows):
    rows = np.array(rows, dtype=np.int64)
    keys = KeySet.load(corpus, rows=rows)
    assert_close(keys.keys, torch.from_numpy(corpus.arrays["key"][rows]).float())
    assert keys.times_K.tolist() == corpus.arrays["time"][rows].tolist()
    index = torch.arange(-1, len(rows))
    if len(rows):
        assert keys.row_ids(index).tolist() == [-1, *rows.tolist()]


@pytest.mark.parametrize("size", [None, 1, 5, 100])
def test_window_holds_the_last_rows_strictly_earlier(corpus, size):
    keys = KeySet.load(corpus)
    times = torch.arange(-1, 45)
    lo, hi = keys.window(times, size)
    for time, low, high in zip(times, lo, hi, strict=True):
        earlier = (keys.times_K < time).nonzero()[:, 0].tolist()
        assert list(range(low, high)) == (earlier[-size:] if size else earlier)


def test_row_ids_without_subset(corpus):
    assert KeySet.load(corpus).row_ids(torch.tensor([[3, -1]])).tolist() == [[3, -1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keys_must_be_finite(corpus, value, dtype):
    corpus.arrays["key"][11, 2] = value
    with pytest.raises(UserError, match=r"among keys 7\.\.13"):
        KeySet.load(corpus, dtype=dtype)


def test_keys_too_large_for_their_type():
    corpus = ToyCorpus(np.full((3, 2), 1e6, np.float32), np.arange(3))
    with pytest.raises(UserError, match="wider type"):
        KeySet.load(corpus, dtype=torch.float16)


def test_times_must_not_fall(corpus):
    corpus.arrays["time"] = corpus.arrays["time"][::-1]
    with pytest.raises(UserError, match="times fall"):
        KeySet.load(corpus)


@pytest.mark.parametrize("rows", [[3, 2], [2, 2], [-1, 2], [2, 30]])
def test_rows_must_rise_within_the_corpus(corpus, rows):
    with pytest.raises(UserError, match=r"0\.\.29"):
        KeySet.load(corpus, rows=np.array(rows))


def test_field_must_exist_and_be_a_vector(corpus):
    with pytest.raises(UserError, match="no field 'vector'"):
        KeySet.load(corpus, field="vector")
    with pytest.raises(UserError, match="keys are vectors"):
        KeySet.load(corpus, field="label")


def test_parts_must_fit():
    with pytest.raises(UserError, match="5 keys but 4 times"):
        KeySet(torch.randn(5, 2), torch.arange(4))


def test_keys_that_come_later_are_put_behind_the_others_without_moving_them(corpus):
    whole = KeySet.load(corpus)
    keys, times = whole.keys.numpy(), whole.times_K.numpy()
    for name in ("float32", "int8"):
        dtype = getattr(torch, name)
        first = KeySet.load(corpus, dtype=dtype, room=len(keys))
        longer = first.extend(keys, times + times[-1])
        held = [each if name == "float32" else each.values for each in (first.keys, longer.keys)]
        assert len(longer) == len(longer.times_K) == 2 * len(first)
        assert held[0].data_ptr() == held[1].data_ptr() and held[1][: len(keys)].equal(held[0])
        assert held[1][len(keys) :].equal(held[0])
        moved = longer.extend(keys[:3], np.full(3, 10**15))
        moved_keys = moved.keys if name == "float32" else moved.keys.values
        assert moved_keys.data_ptr() != held[1].data_ptr(), "there was no room left"
        assert moved_keys[: len(longer)].equal(held[1])


def test_keys_that_come_later_are_checked(corpus):
    first = KeySet.load(corpus)
    with pytest.raises(UserError, match="times fall"):
        first.extend(first.keys[:2].numpy(), np.array([0, 10**15]))
    wrong = np.full((2, first.keys.shape[1]), np.nan, np.float32)
    with pytest.raises(UserError, match=r"NaN or infinity among keys 30\.\.31"):
        first.extend(wrong, np.full(2, 10**15))
