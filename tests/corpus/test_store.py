"""Rows served by actors are the rows written, whatever is asked and whoever dies."""

import os
import pickle
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusStore, open_corpus
from raclib.errors import UserError

ALL = ("embedding", "pair", "label", "flag", "time")


@pytest.fixture(scope="module")
def store(ray_cluster, corpus):
    with CorpusStore.start(corpus, num_servers=2) as store:
        yield store


def pids(store) -> list[int]:
    """Process ids of the servers."""
    import ray

    return ray.get([server.mount.remote() for server in store.routing.servers])


@pytest.mark.parametrize("local", [True, False])
def test_large_fetch(store, rows, same, local):
    ids = np.random.default_rng(0).integers(0, 5000, 20_000)
    client = store.client(local)
    assert same(client.fetch(ids, ALL), rows, ids)
    stats = client.stats()
    assert stats["rows"] == 20_000
    assert stats["local"] == (20_000 if local else 0)
    assert stats["unique"] == (0 if local else len(np.unique(ids)))
    assert stats["calls"] == (0 if local else 2)


@pytest.mark.parametrize("ids", [[-1], [5000], [0.5], [[1]]])
def test_wrong_ids(store, ids):
    with pytest.raises(UserError, match="row_ids"):
        store.client().fetch(ids, ("label",))
    with pytest.raises(UserError, match="field 'nothing'"):
        store.client().fetch([1], ("nothing",))


def test_several_fetches_under_way(store, rows, same):
    client = store.client(local=False)
    ids = np.random.default_rng(1).integers(0, 5000, (10, 500))
    pending = [client.fetch_async(part, ("embedding", "label")) for part in ids]
    for part, fetch in reversed(list(zip(ids, pending, strict=True))):
        assert same(fetch.result(timeout=30), rows, part)
        assert fetch.result() is fetch.result()


def test_client_works_in_any_worker(ray_cluster, store, rows, same):
    @ray_cluster.remote
    def fetch(client, ids):
        return client.fetch(ids, ("pair", "label"))

    client = store.client(local=False)
    client.fetch([1], ("embedding",))
    assert len(pickle.dumps(store.corpus)) < 5000
    ids = np.arange(4990, 1000, -7)
    assert same(ray_cluster.get(fetch.remote(client, ids)), rows, ids)


def test_server_killed_in_the_middle_of_fetches(store, rows, same):
    client = store.client(local=False)
    rng = np.random.default_rng(2)
    victims = pids(store)
    killer = threading.Timer(0.3, os.kill, (victims[0], signal.SIGKILL))
    killer.start()
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        ids = rng.integers(0, 5000, 2000)
        assert same(client.fetch(ids, ALL, timeout=60), rows, ids)
    killer.join()
    assert pids(store)[0] != victims[0]


def test_replica_answers_at_once_when_a_server_dies(ray_cluster, corpus, rows, same):
    with CorpusStore.start(corpus, num_servers=2, replicas=2) as store:
        client = store.client(local=False)
        ids = np.arange(0, 5000, 3)
        for victim in pids(store):
            os.kill(victim, signal.SIGKILL)
            began = time.monotonic()
            assert same(client.fetch(ids, ALL), rows, ids)
            assert time.monotonic() - began < 1.5


def test_silent_server_is_given_up_at_the_deadline(ray_cluster, corpus):
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


def test_silent_server_is_passed_over(ray_cluster, corpus, rows, same):
    with CorpusStore.start(corpus, num_servers=2, replicas=2) as store:
        victim = pids(store)[0]
        os.kill(victim, signal.SIGSTOP)
        try:
            ids = np.arange(5000)
            assert same(store.client(local=False).fetch(ids, ALL, timeout=20), rows, ids)
        finally:
            os.kill(victim, signal.SIGCONT)


def test_stop_leaves_no_actor(ray_cluster, corpus):
    store = CorpusStore.start(corpus, num_servers=2)
    client, running = store.client(local=False), pids(store)
    store.stop()
    ends = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in running) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    with pytest.raises(UserError, match="cannot be read: server"):
        client.fetch([0], ("label",), timeout=20)


@pytest.fixture
def copy(corpus, tmp_path):
    shutil.copytree(corpus.uri, tmp_path / "copy")
    return open_corpus(str(tmp_path / "copy"))


def damage(corpus) -> Path:
    """Flips one bit in row 0 of the first shard's embeddings."""
    path = Path(corpus.uri, "shards", corpus.shards[0].id, "embedding.npy")
    data = bytearray(path.read_bytes())
    data[130] ^= 4
    path.write_bytes(data)
    return path


def test_damage_is_an_error_never_a_row(ray_cluster, copy):
    damage(copy)
    with CorpusStore.start(copy, num_servers=1, mount="mmap") as store:
        for local in (True, False):
            client = store.client(local)
            with pytest.raises(UserError, match="checksum mismatch in rows 0 to") as caught:
                client.fetch([0], ("embedding",))
            assert copy.shards[0].id in str(caught.value)
            assert "\n" not in str(caught.value)
            client.fetch([4000], ("embedding",))


def test_hydrate_copies_once_and_verified(ray_cluster, copy, rows, same, tmp_path):
    cache = tmp_path / "cache"
    options = {"num_servers": 1, "mount": "hydrate", "cache_dir": str(cache)}
    with CorpusStore.start(copy, **options):
        copied = {path: path.stat().st_ino for path in cache.rglob("*.npy")}
        assert len(copied) == len(copy.shards) * len(copy.fields)
    shutil.rmtree(Path(copy.uri, "shards"))
    ids = np.arange(4999, 0, -2)
    with CorpusStore.start(copy, **options) as store:
        for local in (True, False):
            assert same(store.client(local).fetch(ids, ALL), rows, ids)
    assert {path: path.stat().st_ino for path in cache.rglob("*.npy")} == copied


@pytest.mark.parametrize("mount", ["mmap", "hydrate"])
def test_start_names_a_missing_or_damaged_shard(ray_cluster, copy, tmp_path, mount):
    path = damage(copy)
    options = {"num_servers": 1, "mount": mount, "cache_dir": str(tmp_path / "cache")}
    if mount == "hydrate":
        with pytest.raises(UserError, match="checksum mismatch"):
            CorpusStore.start(copy, **options)
        assert not list(
            (tmp_path / "cache").rglob(f"{copy.shards[0].files['embedding'].checksum}*")
        )
    path.unlink()
    with pytest.raises(UserError, match=rf"{copy.shards[0].id}/embedding\.npy: missing"):
        CorpusStore.start(copy, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_servers": 0}, "num_servers: 0"),
        ({"num_servers": 2, "replicas": 3}, "replicas: 3"),
        ({"mount": "nfs"}, "mount: 'nfs'; choose"),
    ],
)
def test_wrong_arguments(ray_cluster, corpus, options, said):
    with pytest.raises(UserError, match=said):
        CorpusStore.start(corpus, **options)


def test_refresh_serves_an_appended_version(ray_cluster, make_rows, write_corpus, same, tmp_path):
    uri, ids = str(tmp_path / "c"), np.arange(0, 2000, 3)
    first, second = make_rows(2000), make_rows(900, seed=1, start_time=2000)
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    with CorpusStore.start(write_corpus(uri, first, 300), num_servers=2) as store:
        old = store.client(local=False)
        assert not store.refresh()
        write_corpus(uri, second, 200, mode="append")
        assert store.refresh()
        new = store.client(local=False)
        for _ in range(2):
            assert same(old.fetch(ids, ALL), first, ids)
            assert same(new.fetch(np.arange(2900), ALL), both, np.arange(2900))
            with pytest.raises(UserError, match="rows 0 to 1999"):
                old.fetch([2000], ("label",))
            # The second time round by restarted servers.
            for pid in pids(store):
                os.kill(pid, signal.SIGKILL)


def test_row_cache_serves_what_was_fetched(store, rows, same):
    client = store.client(local=False, cache_bytes=2_000_000)
    rng = np.random.default_rng(5)
    for fields in (("embedding",), ("embedding", "label"), ALL):
        for _ in range(4):
            ids = (rng.zipf(1.2, 800) - 1) % 5000
            assert same(client.fetch(ids, fields), rows, ids)
    stats = client.stats()
    assert stats["rows"] == 12 * 800
    assert stats["cached"] > 4000
    assert stats["unique"] < 4000


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_server_killed_every_second(ray_cluster, corpus, rows, same, replicas):
    """200 fetches of 4096 rows, every one right."""
    stop = threading.Event()

    def kill_in_turn(store) -> None:
        turn = 0
        while not stop.wait(1.0):
            os.kill(pids(store)[turn % 2], signal.SIGKILL)
            turn += 1

    rng = np.random.default_rng(4)
    with CorpusStore.start(corpus, num_servers=2, replicas=replicas) as store:
        killer = threading.Thread(target=kill_in_turn, args=(store,))
        killer.start()
        client = store.client(local=False)
        try:
            for _ in range(200):
                ids = rng.integers(0, 5000, 4096)
                assert same(client.fetch(ids, ALL, timeout=60), rows, ids)
                time.sleep(0.02)
        finally:
            stop.set()
            killer.join()
