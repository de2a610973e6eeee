import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from raclib.corpus import gather
from raclib.errors import UserError


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.data())
def test_split_partitions_ids_by_shard(sizes, data):
    starts = np.cumsum([0, *sizes])
    wanted = data.draw(st.lists(st.integers(0, int(starts[-1]) - 1), max_size=40))
    ids = np.array(wanted, np.int64)
    found = np.full(len(ids), -1)
    shards = []
    for shard, where, rows in gather.split(ids, starts):
        assert ((rows >= 0) & (rows < sizes[shard])).all()
        found[where] = rows + starts[shard]
        shards.append(shard)
    np.testing.assert_array_equal(found, ids)
    assert len(set(shards)) == len(shards)


@settings(deadline=None)
@given(
    st_numpy.arrays(
        st.sampled_from([np.int8, np.float16, np.int64, np.bool_]),
        st_numpy.array_shapes(min_dims=1, max_dims=3, max_side=6),
    ),
    st.data(),
)
def test_gather_is_numpy_indexing(source, data):
    index = st.integers(0, len(source) - 1)
    rows = np.array(data.draw(st.lists(index, max_size=30)), np.int64)
    where = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)
    scattered = np.empty((len(rows), *source.shape[1:]), source.dtype)
    gather.gather(source, rows, scattered, where)
    assert scattered[where].tobytes() == source[rows].tobytes()
    contiguous = np.empty_like(scattered)
    gather.gather(source, rows, contiguous, slice(0, len(rows)))
    assert contiguous.tobytes() == source[rows].tobytes()


def test_gather_in_several_chunks():
    source = np.random.default_rng(0).random((700, 1024), np.float32)
    rows = np.random.default_rng(1).integers(0, 700, 600)
    where = np.random.default_rng(2).permutation(600)
    out = np.empty((600, 1024), np.float32)
    gather.gather(source, rows, out, where)
    np.testing.assert_array_equal(out[where], source[rows])


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([-1], "-1 is out of range"),
        ([0, 10], "10 is out of range; the corpus has rows 0 to 9"),
        (np.array([2**63], np.uint64), "out of range"),
        ([0.0], "dtype float64"),
        ([True], "dtype bool"),
        (["1"], "dtype"),
        ([[1]], "shape"),
        (3, "shape"),
    ],
)
def test_row_ids_that_cannot_be(ids, said):
    with pytest.raises(UserError, match=said):
        gather.check_row_ids(ids, 10)


@pytest.mark.parametrize("ids", [[], [0, 9, 9], np.array([9], np.uint8), np.arange(10)[::-2]])
def test_row_ids_that_can(ids):
    found = gather.check_row_ids(ids, 10)
    assert found.dtype == np.int64
    assert found.tolist() == list(ids)
