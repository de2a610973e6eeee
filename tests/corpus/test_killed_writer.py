"""A writer that is killed at any step leaves the old version whole, and another can go on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.corpus.orphans import find_orphans, remove

FIELDS = {"label": Field("int8"), "time": Field("int64")}

# Counts the calls that make something lasting and dies just before the one of that number.
VICTIM = """
import os, pathlib, signal, sys
import numpy as np
from raclib.corpus import CorpusWriter, Field

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

os.fsync, os.link = mortal(os.fsync), mortal(os.link)
pathlib.Path.replace = mortal(pathlib.Path.replace)
pathlib.Path.unlink = mortal(pathlib.Path.unlink)
fields = {"label": Field("int8"), "time": Field("int64")}
with CorpusWriter(uri, fields, rows_per_shard=2, mode="append") as writer:
    writer.write({"label": np.zeros(3, np.int8), "time": np.array([5, 6, 7])})
print("survived", steps)
"""


def append(uri: str, times) -> None:
    mode = "append" if Path(uri, "manifests").exists() else "create"
    with CorpusWriter(uri, FIELDS, mode=mode) as writer:
        times = np.array(times, np.int64)
        writer.write({"label": np.ones(len(times), np.int8), "time": times})


@pytest.mark.parametrize("last", [1, 2, 3, 5, 6, 7, 11, 13, 14, 15, 16, 17, 18, 19, 99])
def test_killed_before_step(tmp_path, last):
    uri = str(tmp_path / "c")
    append(uri, [1, 2])
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, uri, str(last)], capture_output=True, text=True
    )
    corpus = open_corpus(uri)
    corpus.verify()
    times = corpus.read("time").tolist()
    if victim.returncode == 0:
        assert last == 99, f"only {victim.stdout}"
        assert times == [1, 2, 5, 6, 7]
    else:
        # The link of the manifest is the one step that publishes.
        assert times in ([1, 2], [1, 2, 5, 6, 7])
        assert (corpus.version == 2) == (len(times) == 5)
    append(uri, [8])
    remove(uri, list(find_orphans(uri, min_age_s=-60)))
    assert find_orphans(uri, min_age_s=-60) == {}
    after = open_corpus(uri)
    after.verify()
    assert after.read("time").tolist() == [*times, 8]
    left = {path.suffix for path in Path(uri).rglob("*") if path.is_file()}
    assert left == {".npy", ".json"}
