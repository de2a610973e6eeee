"""A corpus on an object store that fails in every way the tests can think of."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import s3fs

from raclib.bench.capacity import block_bytes
from raclib.corpus import CorpusStore, open_corpus, publish
from raclib.corpus.gather import split
from raclib.corpus.mounts import Mount
from raclib.corpus.orphans import find_orphans, remove
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError

ALL = ("embedding", "pair", "label", "flag", "time")


@pytest.fixture(scope="module")
def remote(bucket, rows, write_corpus):
    """The 5000 rows, in the bucket."""
    return write_corpus(f"{bucket}/c", rows, 1200)


def make_reader(kind: str, folder: Path, cache_bytes: int | None = None) -> ShardReader:
    return ShardReader(Mount(kind, str(folder), cache_bytes))


def is_rows(method: str, path: str) -> bool:
    """Whether a request reads rows, not a manifest."""
    return method == "GET" and "/shards/" in path


def test_write_append_read(remote, rows, bucket, make_rows, write_corpus):
    for name, array in rows.items():
        assert remote.read(name).tobytes() == array.tobytes()
    uri = f"{bucket}/appended"
    first = write_corpus(uri, make_rows(50), 20)
    second = write_corpus(uri, make_rows(30, start_time=50), 20, mode="append")
    assert (first.version, second.version, len(open_corpus(uri))) == (1, 2, 80)
    first.verify()
    second.verify()


def test_of_many_racing_publishers_one_wins(bucket, make_rows, write_corpus):
    corpus = write_corpus(f"{bucket}/race", make_rows(20), 20)

    def race(number: int) -> bool:
        try:
            publish(corpus.uri, corpus.fields, corpus.shards, {"by": number}, version=2)
        except UserError as error:
            assert "published by another writer" in str(error)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1


def test_publishing_survives_a_lost_answer(bucket, make_rows, write_corpus, proxy):
    corpus = write_corpus(f"{bucket}/lost", make_rows(20), 20)
    answers = iter(["short"])

    def lose(method: str, path: str) -> str | None:
        return next(answers, None) if method == "PUT" and "manifests" in path else None

    proxy.fault = lose
    publish(corpus.uri, corpus.fields, corpus.shards, version=2)
    assert open_corpus(corpus.uri).version == 2


def test_an_aborted_write_leaves_nothing_half(bucket, make_rows, write_corpus, proxy):
    uri = f"{bucket}/aborted"
    proxy.fault = lambda method, path: "denied" if method == "PUT" and "label" in path else None
    with pytest.raises(UserError, match="access denied"):
        write_corpus(uri, make_rows(20), 20)
    proxy.reset()
    with pytest.raises(UserError, match="being written"):
        open_corpus(uri)
    orphans = find_orphans(uri, min_age_s=-60)
    assert 0 < len(orphans) < 5
    remove(uri, list(orphans))
    with pytest.raises(UserError, match="no corpus here"):
        open_corpus(uri)


@pytest.mark.parametrize("kind", ["range", "hydrate"])
def test_any_rows(remote, rows, same, tmp_path, kind):
    reader = make_reader(kind, tmp_path)
    rng = np.random.default_rng(0)
    for size in (0, 1, 300, 5000):
        ids = rng.integers(0, 5000, size)
        assert same(reader.take(remote, ids, ALL), rows, ids)


def test_ranges_are_read_once_and_coalesced(remote, tmp_path, proxy):
    reader = make_reader("range", tmp_path)
    reader.column(remote, 0, "embedding")
    proxy.reset()
    ids = np.random.default_rng(0).permutation(1200)
    for _ in range(2):
        reader.take(remote, ids, ("embedding",))
    # 1200 rows of 48 bytes: four blocks, side by side.
    assert len([request for request in proxy.requests if is_rows(*request[:2])]) == 1


def test_rows_far_apart_cost_one_block_each(bucket, tmp_path, proxy, make_rows, write_corpus):
    corpus = write_corpus(f"{bucket}/far", make_rows(20_000), 10_000)
    reader = make_reader("range", tmp_path)
    for shard in (0, 1):
        reader.column(corpus, shard, "embedding")
    proxy.reset()
    block_rows = corpus.field("embedding").block_rows
    ids = np.array([0, 10 * block_rows, 20 * block_rows, 19_000])
    reader.take(corpus, ids, ("embedding",))
    ranges = [found for *request, found in proxy.requests if is_rows(*request)]
    edges = [tuple(map(int, found.removeprefix("bytes=").split("-"))) for found in ranges]
    assert [last - first + 1 for first, last in edges] == [block_bytes(48)] * len(ids)


def test_the_block_cache_keeps_its_budget(bucket, tmp_path, proxy, make_rows, write_corpus, same):
    rows = make_rows(40_000)
    corpus = write_corpus(f"{bucket}/wide", rows, 10_000)
    budget = 300_000
    reader = make_reader("range", tmp_path, budget)
    rng = np.random.default_rng(0)
    for _ in range(40):
        # Few neighbouring rows: blocks of many places, more than fit.
        ids = np.concatenate([rng.integers(0, 39_990) + np.arange(5) for _ in range(4)])
        assert same(reader.take(corpus, ids, ("embedding",)), rows, ids)
        columns = [reader.column(corpus, number, "embedding") for number in range(4)]
        assert sum(column.held_bytes for column in columns) <= budget + 20 * 8192
    assert sum(np.count_nonzero(column.verified) for column in columns) > 0


@pytest.mark.parametrize("fault", ["503", "500", "429", "short", "corrupt"])
@pytest.mark.parametrize("kind", ["range", "hydrate"])
def test_passing_faults_cost_time_only(remote, rows, same, tmp_path, proxy, kind, fault):
    reader = make_reader(kind, tmp_path)
    count = iter(range(10**9))
    proxy.fault = lambda method, path: (
        fault if is_rows(method, path) and next(count) % 3 == 0 else None
    )
    ids = np.random.default_rng(1).integers(0, 2400, 1000)
    assert same(reader.take(remote, ids, ("embedding", "label")), rows, ids)
    assert next(count) > 3


@pytest.fixture
def cold(remote, ray_cluster, tmp_path):
    """A client that calls a server which has not read any wide row yet."""
    with CorpusStore.start(remote, num_servers=1, mount="range", cache_dir=str(tmp_path)) as store:
        yield store.client(local=False)


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_storm_of_refusals_is_waited_out(cold, rows, same, proxy, seconds):
    ends = time.monotonic() + seconds
    proxy.fault = lambda method, path: "503" if time.monotonic() < ends else None
    ids = np.arange(0, 1200, 7)
    assert same(cold.fetch(ids, ("embedding",), timeout=60), rows, ids)
    assert time.monotonic() >= ends


def test_a_storm_longer_than_the_deadline_is_an_error_in_time(cold, rows, same, proxy):
    proxy.fault = lambda method, path: "503"
    began = time.monotonic()
    with pytest.raises(UserError, match=r"server 0: no answer in 2\.0 s"):
        cold.fetch([0], ("embedding",), timeout=2)
    assert time.monotonic() - began < 3
    proxy.reset()
    assert same(cold.fetch([0], ("embedding",)), rows, [0])


def test_a_stalled_server_request_is_sent_again(ray_cluster, cold, rows, same, proxy):
    def give_up_sooner(server) -> None:  # by value: servers cannot import this file
        from raclib.corpus import remote

        assert remote.REQUEST_S == 15
        remote.REQUEST_S = 2.0

    (server,) = cold.routing.servers
    ray_cluster.get(server.__ray_call__.remote(give_up_sooner))
    stalls = iter(["stall"])
    proxy.fault = lambda method, path: next(stalls, None)
    began = time.monotonic()
    assert same(cold.fetch([7], ("embedding",)), rows, [7])
    assert 2 <= time.monotonic() - began < 10


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_server_killed_while_it_waits_for_the_object_store(
    ray_cluster, remote, rows, same, proxy, no_leaks, pids, tmp_path, replicas
):
    options = {"mount": "range", "cache_dir": str(tmp_path)}
    with CorpusStore.start(remote, num_servers=2, replicas=replicas, **options) as store:
        before = pids(store)
        asked = threading.Event()

        def note(method: str, path: str) -> None:
            asked.set()

        proxy.delay, proxy.fault = 0.5, note
        ids = np.arange(0, 5000, 3)
        pending = store.client(local=False).fetch_async(ids, ("embedding",))
        assert asked.wait(20)
        for victim in before[:1] if replicas == 2 else before:
            os.kill(victim, signal.SIGKILL)
        proxy.reset()
        assert same(pending.result(timeout=60), rows, ids)
        assert before != pids(store)


def test_a_stalled_connection_is_given_up(remote, rows, same, tmp_path, proxy, monkeypatch):
    monkeypatch.setattr("raclib.corpus.remote.REQUEST_S", 1.0)
    reader = make_reader("range", tmp_path)
    stalls = iter(["stall"])
    proxy.fault = lambda method, path: next(stalls, None) if is_rows(method, path) else None
    began = time.monotonic()
    ids = np.arange(100)
    assert same(reader.take(remote, ids, ("embedding",)), rows, ids)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", ["denied", "unknown key", "wrong secret", "expired"])
def test_refused_credentials_are_an_error_at_once(remote, tmp_path, proxy, fault):
    proxy.fault = lambda method, path: fault
    began = time.monotonic()
    with pytest.raises(UserError, match="access denied") as caught:
        make_reader("range", tmp_path).take(remote, np.arange(9), ("embedding",))
    with pytest.raises(UserError, match="access denied"):
        open_corpus(remote.uri)
    assert time.monotonic() - began < 5
    assert remote.uri in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["denied", "expired"])
def test_refused_credentials_reach_the_one_who_starts_or_fetches(
    ray_cluster, remote, cold, tmp_path, proxy, fault
):
    proxy.fault = lambda method, path: fault
    for attempt in (
        lambda: CorpusStore.start(remote, 1, mount="range", cache_dir=str(tmp_path / "other")),
        lambda: cold.fetch([0], ("embedding",)),
    ):
        began = time.monotonic()
        with pytest.raises(UserError, match="access denied") as caught:
            attempt()
        assert time.monotonic() - began < 10
        assert "\n" not in str(caught.value)


def test_no_credentials_at_all(remote, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(UserError, match="credentials"):
            open_corpus(remote.uri)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", ["range", "hydrate"])
def test_damage_at_rest_is_an_error(bucket, tmp_path, make_rows, write_corpus, kind):
    rows = make_rows(3000)
    corpus = write_corpus(f"{bucket}/damaged-{kind}", rows, 3000)
    fs, path = s3fs.S3FileSystem(), f"{corpus.uri}/shards/{corpus.shards[0].id}/embedding.npy"
    data = bytearray(fs.cat_file(path))
    data[128 + 48 * 1000] ^= 1
    fs.pipe_file(path, bytes(data))
    reader = make_reader(kind, tmp_path)
    with pytest.raises(UserError, match=r"embedding\.npy.*checksum mismatch in rows") as caught:
        reader.take(corpus, np.array([1000]), ("embedding",))
    assert "\n" not in str(caught.value)
    fs.pipe_file(path, bytes(data[:-8]))
    with pytest.raises(UserError):
        make_reader(kind, tmp_path / "other").take(corpus, np.array([0]), ("embedding",))
    fs.rm_file(path)
    with pytest.raises(UserError, match=r"embedding\.npy.*missing"):
        make_reader(kind, tmp_path / "third").take(corpus, np.array([0]), ("embedding",))


@pytest.mark.parametrize("kind", ["range", "hydrate"])
def test_served(ray_cluster, remote, rows, same, tmp_path, kind):
    rng = np.random.default_rng(3)
    with CorpusStore.start(remote, num_servers=2, mount=kind, cache_dir=str(tmp_path)) as store:
        client = store.client(local=False, cache_bytes=100_000)
        for _ in range(5):
            ids = rng.integers(0, 5000, 700)
            assert same(client.fetch(ids, ALL), rows, ids)
        assert client.stats()["cached"] > 0
        reading = store.client()
        assert same(reading.fetch(ids, ALL), rows, ids)
        assert same(reading.fetch(ids, ("label",)), rows, ids)
        assert reading.stats()["local"] == (2 if kind == "hydrate" else 1) * len(ids)


def test_a_server_killed_while_hydrating_leaves_no_half_file(
    ray_cluster, remote, rows, same, tmp_path, proxy, running_servers
):
    proxy.delay = 0.05
    started = threading.Event()

    def note(method: str, path: str) -> None:
        if is_rows(method, path):
            started.set()

    proxy.fault = note
    killed = []

    def kill() -> None:
        started.wait(30)
        time.sleep(0.3)
        for pid in running_servers("ray::ShardServer.mount"):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with CorpusStore.start(
        remote, num_servers=1, mount="hydrate", cache_dir=str(tmp_path)
    ) as store:
        killer.join()
        assert killed
        ids = np.arange(5000)
        assert same(store.client(local=False).fetch(ids, ALL), rows, ids)
        assert same(store.client().fetch(ids, ALL), rows, ids)
    assert not list(tmp_path.rglob("*.tmp"))


def test_hydrating_keeps_within_bounds(remote, rows, same, tmp_path):
    sizes = [shard.files["embedding"].num_bytes for shard in remote.shards]
    reader = make_reader("hydrate", tmp_path, cache_bytes=sizes[0] * 2)
    for number, (shard, where, _) in enumerate(split(np.arange(5000), remote.starts)):
        ids = np.arange(5000)[where]
        assert shard == number
        assert same(reader.take(remote, ids, ("embedding",)), rows, ids)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= sizes[0] * 2
    # Evicted copies that are mapped go on being read.
    assert same(reader.take(remote, np.arange(5000), ("embedding",)), rows, np.arange(5000))
    with pytest.raises(UserError, match="no room for a copy"):
        make_reader("hydrate", tmp_path, 1000).take(remote, np.array([0]), ("embedding",))
