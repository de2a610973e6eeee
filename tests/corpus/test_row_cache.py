import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus.manifest import Field
from raclib.corpus.row_cache import RowCache

FIELDS = {"a": Field("int64"), "b": Field("float16", (3,))}
ROWS = {
    "a": np.arange(1000) * 7,
    "b": np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float16),
}
IDS = st.lists(st.integers(0, 999), unique=True, max_size=50)


@settings(max_examples=100)
@given(st.integers(0, 5000), st.lists(st.tuples(IDS, st.sets(st.sampled_from("ab"), min_size=1))))
def test_what_it_holds_is_right(num_bytes, fetches):
    cache = RowCache(FIELDS, num_bytes)
    for wanted, names in fetches:
        ids, names = np.array(wanted, np.int64), tuple(names)
        held = cache.find(ids, names)
        for name in names:
            out = np.zeros((held.sum(), *FIELDS[name].shape), FIELDS[name].dtype)
            if held.any():
                cache.read(ids[held], name, out, slice(0, held.sum()))
            assert out.tobytes() == ROWS[name][ids[held]].tobytes()
        cache.store(ids, {name: ROWS[name][ids] for name in names})


def test_it_remembers_within_its_bytes():
    cache = RowCache(FIELDS, 100_000)
    ids = np.arange(0, 1000, 2)
    cache.store(ids, {name: rows[ids] for name, rows in ROWS.items()})
    assert cache.find(ids, ("a", "b")).mean() > 0.7
    assert not cache.find(ids + 1, ("a",)).any()
    arrays = [*cache._ids.values(), *cache._rows.values()]
    assert 20_000 < sum(array.nbytes for array in arrays) <= 100_000
