"""What a corpus of many shards asks for does not grow with what is there already."""

import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus import Corpus, CorpusWriter, Field, add_field, files, open_corpus
from raclib.corpus import reader as reader_module
from raclib.corpus.beginning import Beginning
from raclib.corpus.manifest import Manifest
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader

FIELDS = {"time": Field("int64"), "label": Field("int16")}
NUM_SHARDS, ROWS_PER_SHARD = 40, 25


def make_rows(start: int, num_rows: int) -> dict[str, np.ndarray]:
    row = np.arange(start, start + num_rows)
    return {"time": row // 3, "label": (row % 7).astype(np.int16)}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A corpus of 40 shards, with ties of time within and across them."""
    uri = str(tmp_path_factory.mktemp("many") / "c")
    with CorpusWriter(uri, FIELDS, ROWS_PER_SHARD) as writer:
        writer.write(make_rows(0, NUM_SHARDS * ROWS_PER_SHARD))
    return open_corpus(uri)


@pytest.fixture
def listed(monkeypatch):
    """Folders that were listed, in order."""
    found = []

    def list_files(uri):
        found.append(uri.rpartition("/")[2])
        return original(uri)

    original = files.list_files
    monkeypatch.setattr(files, "list_files", list_files)
    return found


def test_an_append_looks_for_its_own_files_only(many, tmp_path, listed):
    uri = str(tmp_path / "c")
    with CorpusWriter(uri, FIELDS, ROWS_PER_SHARD) as writer:
        writer.write(make_rows(0, NUM_SHARDS * ROWS_PER_SHARD))
    listed.clear()
    with CorpusWriter(uri, FIELDS, ROWS_PER_SHARD, mode="append") as writer:
        writer.write(make_rows(NUM_SHARDS * ROWS_PER_SHARD, ROWS_PER_SHARD))
    newest = open_corpus(uri)
    assert len(newest.shards) == NUM_SHARDS + 1
    assert "shards" not in listed and listed.count(newest.shards[-1].id) == 1
    listed.clear()
    add_field(newest, "more", Field("int8"), lambda n: np.ones(newest.shards[n].num_rows, np.int8))
    assert listed.count("shards") == 1  # every shard has a new file


@settings(deadline=None)
@given(time=st.integers(-5, 400))
def test_rows_before_a_time_are_counted_from_one_shard(many, time):
    assert many.num_before(time) == np.searchsorted(many.read("time"), time)


def test_counting_rows_reads_one_shard_at_most(many, monkeypatch):
    read, column = [], Corpus.column
    monkeypatch.setattr(Corpus, "column", lambda *args: read.append(args[1].id) or column(*args))
    many.num_before(111)
    assert len(read) == 1


@settings(deadline=None)
@given(bounds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(sorted))
def test_an_interval_of_rows_reads_the_shards_that_have_some(many, bounds):
    lo, hi = bounds
    parts = list(many.iter_field("label", lo, hi))
    assert len(parts) <= (hi - lo) // ROWS_PER_SHARD + 2
    found = np.concatenate([np.empty(0, np.int16), *(rows for _, rows in parts)])
    np.testing.assert_array_equal(found, np.arange(lo, hi) % 7)
    assert [start for start, _ in parts] == np.cumsum(
        [lo, *(len(rows) for _, rows in parts)]
    ).tolist()[:-1]


def test_the_beginning_of_a_corpus_has_no_other_rows(many):
    first = Beginning(many, 130)
    assert len(first) == 130
    found = np.concatenate([rows for _, rows in first.iter_field("time")])
    np.testing.assert_array_equal(found, many.read("time", 0, 130))


def test_files_that_were_mounted_first_are_let_go(many, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_COLUMNS", 5)
    reader = ShardReader(Mount("mmap"))
    rows = np.random.default_rng(0).permutation(len(many))
    for _ in range(2):
        found = reader.take(many, rows, ("time", "label"))
        np.testing.assert_array_equal(found["time"], rows // 3)
        np.testing.assert_array_equal(found["label"], rows % 7)
        assert len(reader._columns) == 5


def test_places_of_shards_are_added_up_once(many):
    assert many.starts is many.starts


def test_a_manifest_reckons_with_fields_once(many, monkeypatch):
    data, asked = many.manifest.to_bytes(), []
    original = Field.row_bytes.fget
    monkeypatch.setattr(
        Field, "row_bytes", property(lambda field: asked.append(0) or original(field))
    )
    assert len(Manifest.from_bytes(data, "m").shards) == NUM_SHARDS
    assert len(asked) < NUM_SHARDS


def test_a_field_is_mapped_without_room_for_it(tmp_path, bytes_per_row):
    def map_times(num_rows):
        uri = str(tmp_path / secrets.token_hex(4))
        with CorpusWriter(uri, FIELDS, 10_000) as writer:
            writer.write(make_rows(0, num_rows))
        corpus = open_corpus(uri)

        def work():
            time = corpus.read_mapped("time")
            assert time[-1] == (num_rows - 1) // 3 and len(time) == num_rows
            time[0] = 5  # in memory alone
            assert corpus.read("time", 0, 1)[0] == 0

        return work

    assert bytes_per_row(map_times, (50_000, 100_000)) < 1
