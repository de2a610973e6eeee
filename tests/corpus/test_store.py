"""Rows served by actors are the rows written, whatever is asked."""

import os
import pickle
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusStore
from raclib.errors import UserError

ALL = ("embedding", "pair", "label", "flag", "time")


@pytest.fixture(scope="module")
def store(ray_cluster, corpus):
    with CorpusStore.start(corpus, num_servers=2) as store:
        yield store


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


def test_stop_leaves_no_actor(ray_cluster, corpus, pids):
    store = CorpusStore.start(corpus, num_servers=2)
    client, running = store.client(local=False), pids(store)
    store.stop()
    ends = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in running) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    with pytest.raises(UserError, match="cannot be read: server"):
        client.fetch([0], ("label",), timeout=20)


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


def test_refresh_serves_an_appended_version(
    ray_cluster, make_rows, write_corpus, same, pids, tmp_path
):
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
