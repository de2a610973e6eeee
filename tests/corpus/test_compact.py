"""Merged shards hold the same rows; older versions, readers and other writers go on."""

import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, add_field, open_corpus
from raclib.corpus.compact import compact, merge_shards, publish_merged
from raclib.corpus.orphans import find_orphans, remove
from raclib.corpus.reader import take_from
from raclib.errors import UserError

JOB = Path(__file__).resolve().parents[2] / "jobs" / "corpus.py"
SIZES = [400, 30, 1, 7, 60, 300, 50, 50, 50, 2]


@pytest.fixture
def small(tmp_path, make_rows):
    """Its shards, all appended, one with a field that was replaced; and its rows."""
    uri, parts, start = str(tmp_path / "c"), [], 0
    for number, size in enumerate(SIZES):
        parts.append(make_rows(size, seed=number, start_time=start))
        start += size
        append(uri, parts[-1], "append" if number else "create")
    corpus = open_corpus(uri)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows["label"] = -rows["label"]

    def other_labels(shard: int) -> np.ndarray:
        return rows["label"][slice(*corpus.starts[shard : shard + 2])]

    return add_field(corpus, "label", Field("int8"), other_labels, {"made": "by a test"}), rows


def append(uri: str, rows: dict[str, np.ndarray], mode: str = "append") -> None:
    fields = {name: Field(str(array.dtype), array.shape[1:]) for name, array in rows.items()}
    with CorpusWriter(uri, fields, mode=mode) as writer:
        writer.write(rows)


def test_rows_keep_their_ids_and_files_are_whole(small, same):
    corpus, rows = small
    found = compact(corpus, 200)
    assert [shard.num_rows for shard in found.shards] == [400, 98, 300, 152]
    assert (found.version, len(found)) == (corpus.version + 1, len(corpus))
    assert (found.fields, found.provenance) == (corpus.fields, corpus.provenance)
    again = open_corpus(corpus.uri)
    again.verify()
    ids = np.random.default_rng(0).permutation(len(corpus))
    assert same(take_from(again)(ids, tuple(rows)), rows, ids)
    assert found.shards[0] == corpus.shards[0], "what is large stays"
    assert compact(again, 200) is again, "nothing is left to merge"


def test_a_reader_of_an_older_version_goes_on(small, same):
    corpus, rows = small
    take, ids = take_from(corpus), np.arange(len(corpus))
    assert same(take(ids[::7], ("label",)), rows, ids[::7])
    compact(corpus, 10**6)
    remove(corpus.uri, list(find_orphans(corpus.uri, min_age_s=-60)))
    assert same(take(ids, tuple(rows)), rows, ids)
    for version in range(1, corpus.version + 2):
        open_corpus(corpus.uri, version).verify()


def test_rows_that_are_appended_meanwhile_stay(small, make_rows, same):
    corpus, rows = small
    merged = merge_shards(corpus, 200)
    later = make_rows(20, seed=99, start_time=10**6)
    append(corpus.uri, later)
    found = publish_merged(corpus.uri, merged)
    assert [shard.num_rows for shard in found.shards] == [400, 98, 300, 152, 20]
    both = {name: np.concatenate([rows[name], later[name]]) for name in rows}
    ids = np.arange(len(found))
    assert same(take_from(found)(ids, tuple(rows)), both, ids)


def test_a_writer_that_began_before_is_told_in_a_line(small, make_rows):
    corpus, _ = small
    with (
        pytest.raises(UserError, match="was published by another writer; nothing is lost") as told,
        CorpusWriter(corpus.uri, corpus.fields, mode="append") as writer,
    ):
        writer.write(make_rows(5, start_time=10**6))
        compact(corpus, 10**6)
    assert "\n" not in str(told.value)
    assert len(open_corpus(corpus.uri)) == len(corpus)


def test_shards_that_were_replaced_meanwhile_are_not_put_back(small):
    corpus, _ = small
    merged = merge_shards(corpus, 200)
    other = add_field(corpus, "flag", Field("bool"), lambda n: np.ones(SIZES[n], bool))
    with pytest.raises(UserError, match="has other shards than those that were merged") as told:
        publish_merged(corpus.uri, merged)
    assert "\n" not in str(told.value)
    assert open_corpus(corpus.uri).version == other.version
    remove(corpus.uri, list(find_orphans(corpus.uri, min_age_s=-60)))
    compact(other, 200).verify()
    with pytest.raises(UserError, match="has other shards"):  # they are merged by now
        compact(corpus, 200)


def test_damage_is_not_merged(small):
    corpus, _ = small
    shard = corpus.shards[1]
    path = Path(corpus.uri, shard.path("embedding"))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum mismatch"):
        compact(corpus, 200)
    assert open_corpus(corpus.uri).version == corpus.version


# Dies just before the call of that number of those that make something lasting.
VICTIM = """
import os, pathlib, signal, sys
from raclib.corpus import open_corpus
from raclib.corpus.compact import compact
uri, last = sys.argv[1], int(sys.argv[2])
steps = 0
def mortal(function):
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return step
os.link, pathlib.Path.replace = mortal(os.link), mortal(pathlib.Path.replace)
compact(open_corpus(uri), 200)
print(steps)
"""


@pytest.mark.parametrize("last", [1, 4, 10, 11])
def test_killed_on_its_way(small, same, last):
    """Two shards of five fields are written, and then the version is linked."""
    corpus, rows = small
    done = subprocess.run([sys.executable, "-c", VICTIM, corpus.uri, str(last)], check=False)
    assert done.returncode == -signal.SIGKILL
    after = open_corpus(corpus.uri)
    assert after.version == corpus.version
    after.verify()
    orphans = find_orphans(corpus.uri, min_age_s=-60)
    assert len(orphans) == last  # what was written, and what was about to be
    remove(corpus.uri, list(orphans))
    ids = np.arange(len(corpus))
    assert same(take_from(compact(after, 200))(ids, tuple(rows)), rows, ids)


def test_the_job(small, capsys):
    corpus, _ = small
    job = runpy.run_path(str(JOB))["compact"]
    job(corpus.uri, 200)
    assert "10 shards are now 4" in capsys.readouterr().out
    job(corpus.uri, 200)
    assert "nothing to merge" in capsys.readouterr().out
    with pytest.raises(UserError, match="rows_per_shard: 0; must be at least 1"):
        job(corpus.uri, 0)
