"""A writer that is killed at any step leaves the old version whole, and another can go on."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.corpus.corpus import latest_version
from raclib.corpus.orphans import find_orphans, remove

FIELDS = {"label": Field("int8"), "time": Field("int64")}

# Makes a victim of each line, which counts the calls that make something lasting and dies just
# before the one of that number. Forked, so that not every victim imports what it needs.
VICTIMS = """
import json, os, pathlib, signal, sys, traceback
import numpy as np
from raclib.corpus import CorpusWriter, Field

def write(uri, last):
    steps = 0
    def mortal(function):
        def step(*args, **kwargs):
            nonlocal steps
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
    return steps

for line in sys.stdin:
    victim = os.fork()
    if not victim:
        print(os.getpid(), flush=True)
        try:
            print("survived", write(*json.loads(line)), flush=True)
        except BaseException:
            print(traceback.format_exc().splitlines(), flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(victim, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""


# Four steps for each of four files and for the manifest, whose second step publishes.
NUM_STEPS, PUBLISHING_STEP = 20, 18
NUM_PUTS = 5


def append(uri: str, times) -> None:
    mode = "append" if latest_version(uri) else "create"
    with CorpusWriter(uri, FIELDS, mode=mode) as writer:
        times = np.array(times, np.int64)
        writer.write({"label": np.ones(len(times), np.int8), "time": times})


def check_and_go_on(uri: str) -> int:
    """The version after a kill is whole, another writer goes on, and what was left is removed."""
    corpus = open_corpus(uri)
    corpus.verify()
    times = corpus.read("time").tolist()
    assert times == {1: [1, 2], 2: [1, 2, 5, 6, 7]}[corpus.version]
    append(uri, [8])
    remove(uri, list(find_orphans(uri, min_age_s=-60)))
    assert find_orphans(uri, min_age_s=-60) == {}
    after = open_corpus(uri)
    after.verify()
    assert after.read("time").tolist() == [*times, 8]
    return corpus.version


class Victims:
    """Writers that die on their way, one after the other."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", VICTIMS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, uri: str, last: int) -> int:
        """Starts one; returns its process id."""
        self._parent.stdin.write(json.dumps([uri, last]) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def wait(self) -> tuple[str, int]:
        """What it printed, and its exit code, or the signal that killed it below zero."""
        printed = ""
        while not (line := self._parent.stdout.readline()).startswith("ended"):
            assert line, "the parent died"
            printed += line
        return printed, int(line.split()[1])

    def stop(self) -> None:
        """Ends what starts them."""
        self._parent.communicate()


@pytest.fixture(scope="module")
def victims():
    victims = Victims()
    yield victims
    victims.stop()


@pytest.mark.parametrize("last", range(1, NUM_STEPS + 2))
def test_killed_before_step(victims, tmp_path, last):
    uri = str(tmp_path / "c")
    append(uri, [1, 2])
    victims.start(uri, last)
    out, code = victims.wait()
    version = check_and_go_on(uri)
    if last > NUM_STEPS:
        assert (out, version) == (f"survived {NUM_STEPS}\n", 2)
    else:
        assert code == -signal.SIGKILL, out
        # The link of the manifest is the one step that publishes.
        assert version == (1 if last <= PUBLISHING_STEP else 2)
    left = {path.suffix for path in Path(uri).rglob("*") if path.is_file()}
    assert left == {".npy", ".json"}


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("last", range(1, NUM_PUTS + 2))
def test_killed_at_a_request(victims, bucket, proxy, last, arrives):
    """Killed as it writes to an object store; what it sent may arrive all the same."""
    uri = f"{bucket}/killed-{last}-{arrives}"
    append(uri, [1, 2])
    puts, victim = itertools.count(1), Future()

    def kill(method: str, path: str) -> str | None:
        if method != "PUT" or next(puts) != last:
            return None
        os.kill(victim.result(), signal.SIGKILL)
        return None if arrives else "503"

    proxy.fault = kill
    victim.set_result(victims.start(uri, 0))
    out, code = victims.wait()
    # What was sent last may still be on its way.
    time.sleep(0.1)
    proxy.reset()
    assert code == (0 if last > NUM_PUTS else -signal.SIGKILL), out
    published = last > NUM_PUTS or (last == NUM_PUTS and arrives)
    assert check_and_go_on(uri) == (2 if published else 1)
