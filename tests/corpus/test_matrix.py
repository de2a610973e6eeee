"""Fetching is NumPy's indexing: every mount, 1 to 7 shards, 1 to 3 servers, every type, any ids."""

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus import Corpus, CorpusStore, CorpusWriter, Field, open_corpus
from raclib.corpus.manifest import DTYPES
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError

MOUNTS = ("mmap", "hydrate", "range")
SHAPES = ((33,), (2, 3, 7), (1,), (5, 9), (300,), (2, 2))
# Shards of unequal size; as many corpora as there are numbers of shards.
SIZES = (1, 37, 2, 64, 5, 150, 11)
NUM_SERVERS = (1, 2, 3)
# For every mount and number of servers a number of shards; together they take each from 1 to 7.
STORES = tuple(zip(product(MOUNTS, NUM_SERVERS), (1, 5, 7, 4, 2, 6, 7, 3, 4), strict=True))

FIELDS = {"time": Field("int64")}
for number, dtype in enumerate(DTYPES):
    FIELDS[f"{dtype}_scalar"] = Field(dtype)
    FIELDS[f"{dtype}_wide"] = Field(dtype, SHAPES[number % len(SHAPES)])

Rows = dict[str, np.ndarray]
Case = tuple[Corpus, Rows]


def any_rows(num_rows: int) -> Rows:
    """Rows of every type, of any bits; ascending times."""
    rng = np.random.default_rng(num_rows)
    rows = {}
    for name, field in FIELDS.items():
        bits = rng.integers(0, 256, (num_rows, field.row_bytes), np.uint8)
        if field.dtype == "bool":
            bits &= 1
        rows[name] = bits.view(field.dtype).reshape(num_rows, *field.shape)
    return {**rows, "time": np.arange(num_rows)}


def write_unequal(uri: str, rows: Rows, sizes: tuple[int, ...]) -> Corpus:
    """A shard for each size, in as many versions."""
    edges = np.cumsum([0, *sizes]).tolist()
    for lo, hi in pairwise(edges):
        with CorpusWriter(uri, FIELDS, mode="append" if lo else "create") as writer:
            writer.write({name: array[lo:hi] for name, array in rows.items()})
    return open_corpus(uri)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[int, Case]:
    """Corpora by their number of shards."""
    made = {}
    for num_shards in range(1, 8):
        sizes = SIZES[:num_shards]
        rows = any_rows(sum(sizes))
        uri = str(tmp_path_factory.mktemp("matrix") / "c")
        made[num_shards] = (write_unequal(uri, rows, sizes), rows)
        assert [shard.num_rows for shard in made[num_shards][0].shards] == list(sizes)
    return made


@pytest.fixture(scope="module")
def clients(ray_cluster, cases, tmp_path_factory) -> Iterator[list]:
    """For every store the case and three clients: one calls, one keeps rows, one reads itself."""
    stores, made = [], []
    for (mount, num_servers), num_shards in STORES:
        corpus, _ = cases[num_shards]
        folder = str(tmp_path_factory.mktemp("cache"))
        store = CorpusStore.start(
            corpus,
            num_servers,
            replicas=1 + num_shards % num_servers,
            mount=mount,
            cache_dir=folder,
        )
        stores.append(store)
        made.append(
            (
                cases[num_shards],
                [store.client(False), store.client(False, cache_bytes=50_000), store.client()],
            )
        )
    yield made
    for store in stores:
        store.stop()


@st.composite
def some_ids(draw: st.DrawFn, num_rows: int) -> list[int]:
    """Valid ids in any order: none, few, many, the first, the last, the same again."""
    edge = st.sampled_from([0, num_rows - 1, num_rows // 2])
    ids = draw(st.lists(edge | st.integers(0, num_rows - 1), max_size=40))
    return ids * draw(st.integers(1, 3))


def as_given(ids: list[int], kind: str):
    """The same ids as a caller may hold them."""
    if kind == "list":
        return ids
    if kind == "strided":
        return np.repeat(np.array(ids, np.int64), 2)[::2]
    if kind == "reversed":
        return np.array(ids[::-1], np.int64)[::-1]
    smallest = np.min_scalar_type(max(ids, default=0))
    return np.array(ids, np.int64).astype(kind if np.can_cast(smallest, kind) else "int64")


ID_KINDS = ("list", "strided", "reversed", "int64", "uint64", "int32", "uint16", "int8")
NAMES = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=5, unique=True)


@settings(max_examples=200, deadline=None)
@given(st.data(), NAMES, st.sampled_from(ID_KINDS))
def test_any_rows_from_any_store(clients, same, data, names, kind):
    (corpus, rows), ways = clients[data.draw(st.integers(0, len(STORES) - 1))]
    client = ways[data.draw(st.integers(0, 2))]
    ids = data.draw(some_ids(len(corpus)))
    found = client.fetch(as_given(ids, kind), tuple(names))
    assert list(found) == names
    assert same(found, rows, np.array(ids, int))
    assert all(array.flags.writeable and array.flags.c_contiguous for array in found.values())
    assert all(found[name].shape == (len(ids), *FIELDS[name].shape) for name in names)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_ids_that_cannot_be_are_refused_by_any_store(clients, data):
    (corpus, _), ways = clients[data.draw(st.integers(0, len(STORES) - 1))]
    num_rows = len(corpus)
    out_of_range = st.integers(-(2**63), -1) | st.integers(num_rows, 2**63 - 1)
    ids = data.draw(some_ids(num_rows))
    place = data.draw(st.integers(0, len(ids)))
    outside = [*ids[:place], data.draw(out_of_range), *ids[place:]]
    valid = np.array([0, *ids])
    wrong = [
        np.array(outside, np.int64),
        np.array([2**64 - 1], np.uint64),
        valid.astype(np.float64),
        valid.astype(bool),
        valid.astype(str),
        valid.astype(object),
        valid.astype("datetime64[ms]"),
        valid[:, None],
        0,
    ]
    with pytest.raises(UserError, match=r"^row_ids: ") as caught:
        ways[data.draw(st.integers(0, 2))].fetch(
            wrong[data.draw(st.integers(0, len(wrong) - 1))], ("time",)
        )
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def readers(cases, tmp_path_factory) -> dict[tuple[str, int], ShardReader]:
    """What a server reads with: every mount of every corpus."""
    made = {}
    for mount, num_shards in product(MOUNTS, cases):
        folder = str(tmp_path_factory.mktemp("reader"))
        made[mount, num_shards] = ShardReader(Mount(mount, folder))
    return made


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(MOUNTS), st.integers(1, 7), NAMES)
def test_every_mount_of_every_number_of_shards(
    cases, readers, same, data, mount, num_shards, names
):
    corpus, rows = cases[num_shards]
    ids = np.array(data.draw(some_ids(len(corpus))), np.int64)
    found = readers[mount, num_shards].take(corpus, ids, tuple(names))
    assert same(found, rows, ids)
