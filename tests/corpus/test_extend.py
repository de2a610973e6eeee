"""A corpus gains fields; every version stays as it was."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus import CorpusStore, CorpusWriter, Field, add_field, open_corpus
from raclib.corpus.orphans import find_orphans, remove
from raclib.corpus.tables import export_table
from raclib.errors import UserError

WIDE = Field("float16", (40,))
TYPES = [WIDE, Field("float16", (3,)), Field("int32"), Field("bool", (2, 2))]


def make_values(field: Field, num_rows: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 100, (num_rows, *field.shape))
    return values.astype(field.dtype)


def add(corpus, name: str, field: Field, values: np.ndarray, **options):
    starts = corpus.starts
    return add_field(
        corpus,
        name,
        field,
        lambda number: values[starts[number] : starts[number + 1]],
        **options,
    )


def check_versions(uri: str, expected: dict[int, dict[str, np.ndarray]]) -> None:
    for version, rows in expected.items():
        corpus = open_corpus(uri, version)
        corpus.verify()
        assert corpus.fields.keys() == rows.keys()
        for name, values in rows.items():
            found = corpus.read(name)
            assert found.dtype == values.dtype
            assert np.array_equal(found, values)


@settings(max_examples=12, deadline=None)
@given(
    num_rows=st.integers(1, 60),
    rows_per_shard=st.integers(5, 30),
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b", "label", "append"]), st.sampled_from(TYPES)),
        max_size=5,
    ),
)
def test_every_version_reads_its_own_rows(make_rows, write_corpus, num_rows, rows_per_shard, steps):
    with tempfile.TemporaryDirectory() as folder:
        uri, rows = f"{folder}/c", make_rows(num_rows)
        corpus = write_corpus(uri, rows, rows_per_shard)
        expected = {1: rows}
        for seed, (name, field) in enumerate(steps):
            if name == "append":
                more = {k: make_values(f, 7, seed) for k, f in corpus.fields.items()}
                more["time"] = rows["time"][-1] + np.arange(7)
                with CorpusWriter(uri, corpus.fields, rows_per_shard, mode="append") as writer:
                    writer.write(more)
                rows = {k: np.concatenate([values, more[k]]) for k, values in rows.items()}
                corpus = open_corpus(uri)
            else:
                rows = {**rows, name: make_values(field, len(corpus), seed)}
                corpus = add(corpus, name, field, rows[name])
            expected[corpus.version] = rows
        assert list(expected) == list(range(1, len(steps) + 2))
        check_versions(uri, expected)
        assert find_orphans(uri, min_age_s=-60) == {}


@pytest.mark.parametrize("mount", ["mmap", "hydrate", "range"])
def test_clients_read_the_version_they_were_made_for(
    ray_cluster, copy, rows, same, tmp_path, mount
):
    ids = np.random.default_rng(0).permutation(5000)
    options = {"num_servers": 2, "mount": mount, "cache_dir": str(tmp_path / "cache")}
    versions = [rows]
    with CorpusStore.start(copy, **options) as store:
        clients = [[store.client(local, 2**20) for local in (True, False)]]
        for seed in range(2):
            values = make_values(WIDE, 5000, seed)
            versions.append({**rows, "base": values})
            add(store.corpus, "base", WIDE, values)
            assert store.refresh()
            clients.append([store.client(local, 2**20) for local in (True, False)])
        # Twice: the second time rows may come out of a cache.
        for _, (known, pair) in itertools.product(range(2), zip(versions, clients, strict=True)):
            for client in pair:
                assert same(client.fetch(ids, tuple(known)), known, ids)
        with pytest.raises(UserError, match="field 'base'"):
            clients[0][0].fetch(ids, ("base",))


def test_nothing_is_rewritten(copy):
    before = {path: path.stat().st_mtime_ns for path in Path(copy.uri).rglob("*.*")}
    after = add(copy, "base", WIDE, make_values(WIDE, 5000, 0), provenance={"base": "linear"})
    assert after.provenance == {**copy.provenance, "base": "linear"}
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time
    added = set(Path(copy.uri).rglob("*.*")) - set(before)
    assert len(added) == len(copy.shards) + 1


def test_export_and_append_know_the_field(copy, make_rows, tmp_path):
    values = make_values(Field("int32"), 5000, 0)
    corpus = add(copy, "score", Field("int32"), values)
    export_table(corpus, str(tmp_path / "t.parquet"))
    assert pq.read_table(tmp_path / "t.parquet")["score"].to_pylist() == values.tolist()
    with pytest.raises(UserError, match="append the same"):
        CorpusWriter(copy.uri, copy.fields, mode="append")


def test_a_failure_publishes_nothing(copy):
    def make_rows(number: int) -> np.ndarray:
        if number == 2:
            raise RuntimeError
        return np.zeros((copy.shards[number].num_rows, 40), np.float16)

    with pytest.raises(RuntimeError):
        add_field(copy, "base", WIDE, make_rows)
    assert open_corpus(copy.uri).version == copy.version
    orphans = find_orphans(copy.uri, min_age_s=-60)
    assert len(orphans) == 2
    again = add(copy, "base", WIDE, make_values(WIDE, 5000, 0))
    assert find_orphans(copy.uri, min_age_s=-60) == orphans
    remove(copy.uri, list(orphans))
    for version in (1, 2):
        open_corpus(copy.uri, version).verify()
    assert again.version == 2


VICTIM = """
import os, signal, sys
import numpy as np
from raclib.corpus import Field, add_field, open_corpus

corpus = open_corpus(sys.argv[1])
def make_rows(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.zeros(corpus.shards[number].num_rows, np.int8)
add_field(corpus, "base", Field("int8"), make_rows)
"""


def test_killed_in_the_middle(copy, rows):
    victim = subprocess.run([sys.executable, "-c", VICTIM, copy.uri], env=os.environ)
    assert victim.returncode == -signal.SIGKILL
    check_versions(copy.uri, {1: rows})
    assert len(find_orphans(copy.uri, min_age_s=-60)) == 3
    values = make_values(WIDE, 5000, 0)
    add(copy, "base", WIDE, values)
    remove(copy.uri, list(find_orphans(copy.uri, min_age_s=-60)))
    check_versions(copy.uri, {1: rows, 2: {**rows, "base": values}})


def test_two_at_once(copy, rows):
    values, others = make_values(WIDE, 5000, 0), make_values(WIDE, 5000, 1)
    starts = copy.starts

    def make_rows(number: int) -> np.ndarray:
        if number == 4:
            add(copy, "base", WIDE, others)
        return values[starts[number] : starts[number + 1]]

    with pytest.raises(UserError, match="version 2 was published by another writer"):
        add_field(copy, "base", WIDE, make_rows)
    check_versions(copy.uri, {1: rows, 2: {**rows, "base": others}})
    with pytest.raises(UserError, match="version 2 is the newest; open that instead of 1"):
        add(copy, "base", WIDE, values)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("time", np.zeros((5000, 40), np.float16), "fields: 'time'"),
        ("a-b", np.zeros((5000, 40), np.float16), "field 'a-b'"),
        ("base", np.zeros((4999, 40), np.float16), "base: 199 rows for 200"),
        ("base", np.zeros((5000, 41), np.float16), r"the field needs \[N, 40\]"),
        ("base", np.zeros((5000, 40), np.float32), "base: is float32"),
    ],
)
def test_wrong_arguments(copy, name, values, said):
    with pytest.raises(UserError, match=said):
        add(copy, name, WIDE, values)
    assert open_corpus(copy.uri).version == 1


def test_time_cannot_be_replaced(copy):
    with pytest.raises(UserError, match="cannot be replaced"):
        add(copy, "time", Field("int64"), np.zeros(5000, np.int64))
