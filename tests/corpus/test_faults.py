"""Whoever dies and whatever is damaged: the right rows, or a clear error in time, never a leak."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import Corpus, CorpusStore
from raclib.errors import UserError

ALL = ("embedding", "pair", "label", "flag", "time")
pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_server_killed_with_a_fetch_in_hand(ray_cluster, corpus, rows, same, pids, replicas):
    with CorpusStore.start(corpus, num_servers=2, replicas=replicas) as store:
        client, ids = store.client(local=False), np.arange(0, 5000, 3)
        for victim, server in zip(pids(store), store.routing.servers, strict=True):
            # Stopped first, so that it has the call and cannot have answered it.
            os.kill(victim, signal.SIGSTOP)
            pending, restarted = client.fetch_async(ids, ALL), server.mount.remote()
            os.kill(victim, signal.SIGKILL)
            assert same(pending.result(timeout=60), rows, ids)
            if replicas == 2:  # a copy answers before the server is back
                assert not ray_cluster.wait([restarted], timeout=0)[0]
        assert victim not in pids(store)


def test_a_server_killed_between_fetches(corpus, rows, same, pids):
    rng = np.random.default_rng(2)
    with CorpusStore.start(corpus, num_servers=2) as store:
        client, victim = store.client(local=False), pids(store)[0]
        killer, after = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)), 0
        killer.start()
        while after < 10:
            after += not killer.is_alive()
            ids = rng.integers(0, 5000, 2000)
            assert same(client.fetch(ids, ALL, timeout=60), rows, ids)
        assert pids(store)[0] != victim


def test_a_silent_server_is_given_up_at_the_deadline(corpus, pids):
    with CorpusStore.start(corpus, num_servers=1) as store:
        (victim,) = pids(store)
        os.kill(victim, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(UserError, match=r"server 0: no answer in 1\.0 s") as caught:
                store.client(local=False).fetch([0], ("label",), timeout=1)
            assert time.monotonic() - began < 2
            assert corpus.shards[0].id in str(caught.value)
        finally:
            os.kill(victim, signal.SIGCONT)


def test_a_silent_server_is_passed_over(corpus, rows, same, pids):
    with CorpusStore.start(corpus, num_servers=2, replicas=2) as store:
        victim = pids(store)[0]
        os.kill(victim, signal.SIGSTOP)
        try:
            ids = np.arange(5000)
            assert same(store.client(local=False).fetch(ids, ALL, timeout=20), rows, ids)
        finally:
            os.kill(victim, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize(("num_servers", "replicas"), [(2, 1), (3, 2)])
def test_a_server_killed_every_second(corpus, rows, same, running_servers, num_servers, replicas):
    """Twelve times at least; 50 fetches of 4096 rows and more, every one right."""
    others, stop, killed, fetches = running_servers(), threading.Event(), [], 0

    def kill_in_turn() -> None:
        while not stop.wait(1.0):
            # Whichever of them runs and was not killed last; at times the others still restart.
            alive = sorted(running_servers() - others, key=lambda pid: pid in killed)
            if alive:
                killed.append(alive[len(killed) % len(alive)])
                os.kill(killed[-1], signal.SIGKILL)

    rng = np.random.default_rng(4)
    with CorpusStore.start(corpus, num_servers=num_servers, replicas=replicas) as store:
        killer = threading.Thread(target=kill_in_turn)
        client = store.client(local=False)
        killer.start()
        began = time.monotonic()
        try:
            while fetches < 50 or len(killed) < 12:
                ids = rng.integers(0, 5000, 4096)
                assert same(client.fetch(ids, ALL, timeout=60), rows, ids)
                fetches += 1
                time.sleep(0.02)
            took = time.monotonic() - began
        finally:
            stop.set()
            killer.join()
        assert len(killed) >= 0.5 * took


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[130] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {"flipped": flip_a_bit, "truncated": truncate, "deleted": Path.unlink}
FLIPPED = r"checksum mismatch in rows 0 to"
TRUNCATED, MISSING = "truncated shard", "missing; restore"


def file_of(corpus: Corpus, shard: int = 0) -> Path:
    """Where a shard's embeddings lie."""
    return Path(corpus.uri, "shards", corpus.shards[shard].id, "embedding.npy")


def refused(corpus: Corpus, said: str, attempt, shard: int = 0) -> None:
    """Asserts that an attempt ends in one clear line that names the shard."""
    with pytest.raises(UserError, match=said) as caught:
        attempt()
    assert corpus.shards[shard].id in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mount", "damage", "said"),
    [
        ("mmap", "truncated", TRUNCATED),
        ("mmap", "deleted", MISSING),
        ("hydrate", "flipped", FLIPPED),
        ("hydrate", "truncated", TRUNCATED),
        ("hydrate", "deleted", MISSING),
        ("range", "truncated", TRUNCATED),
        ("range", "deleted", MISSING),
    ],
)
def test_damage_found_at_the_start(copy, tmp_path, mount, damage, said):
    DAMAGES[damage](file_of(copy))
    cache = tmp_path / "cache"
    refused(copy, said, lambda: CorpusStore.start(copy, 1, mount=mount, cache_dir=str(cache)))
    assert not list(cache.rglob(f"{copy.shards[0].files['embedding'].checksum}*"))


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("mmap", {"flipped": FLIPPED, "truncated": TRUNCATED, "deleted": None}),
        ("hydrate", {"flipped": None, "truncated": None, "deleted": None}),
        ("range", {"flipped": FLIPPED, "truncated": TRUNCATED, "deleted": MISSING}),
    ],
)
def test_damage_while_serving(copy, rows, same, tmp_path, mount, said):
    """A map of a deleted file and a copy are still whole; the rest says what is wrong."""
    with CorpusStore.start(copy, 1, mount=mount, cache_dir=str(tmp_path / "cache")) as store:
        for shard, damage in enumerate(said):
            DAMAGES[damage](file_of(copy, shard))
        client, others = store.client(local=False), np.arange(3600, 5000)
        for shard, message in enumerate(said.values()):
            ids = np.arange(1200 * shard, 1200 * (shard + 1), 5)

            def fetch(ids=ids):
                return client.fetch(ids, ("embedding",))

            if message:
                refused(copy, message, fetch, shard)
            else:
                assert same(fetch(), rows, ids)
            assert same(client.fetch(ids, ("label",)), rows, ids)
        assert same(client.fetch(others, ALL), rows, others)


def test_damage_read_without_a_server(copy):
    flip_a_bit(file_of(copy))
    with CorpusStore.start(copy, 1, mount="mmap") as store:
        refused(copy, FLIPPED, lambda: store.client().fetch([0], ("embedding",)))
