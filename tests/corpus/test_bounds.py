"""A server's memory and node storage stay bounded, and a full disk is a clear error."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from raclib.corpus import (
    CorpusStore,
    CorpusWriter,
    Field,
    FileInfo,
    ShardInfo,
    open_corpus,
    publish,
)
from raclib.corpus.column import _checksum, _header_bytes
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError

NUM_ROWS = 1563 * 2048
FIELDS = {"embedding": Field("uint8", (16 * 1024,)), "time": Field("int64")}


def write_sparse(path: Path, field: Field) -> FileInfo:
    """A file of zeros that takes no room on disk."""
    array = np.broadcast_to(np.zeros(1, field.dtype), (NUM_ROWS, *field.shape))
    header = _header_bytes(array)
    block = bytes(field.block_rows * field.row_bytes)
    sums = np.full(field.num_blocks(NUM_ROWS), xxh3_64_intdigest(block), np.uint64)
    assert NUM_ROWS % field.block_rows == 0
    tail = _header_bytes(sums) + sums.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        file.seek(NUM_ROWS * field.row_bytes, os.SEEK_CUR)
        file.write(tail)
    return FileInfo(path.stat().st_size, _checksum(header, tail))


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A corpus of 52 GB of zeros."""
    root = tmp_path_factory.mktemp("huge")
    files = {
        name: write_sparse(root / "shards" / "s" / f"{name}.npy", field)
        for name, field in FIELDS.items()
    }
    assert files["embedding"].num_bytes > 50 * 10**9
    return publish(str(root), FIELDS, [ShardInfo("s", NUM_ROWS, (0, 0), files)])


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is no mapped file."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("mount", ["mmap", "range"])
def test_memory_of_a_server_of_a_huge_corpus(ray_cluster, pids, huge, tmp_path, mount):
    budget = 20 * 2**20
    options = {"mount": mount, "cache_dir": str(tmp_path), "cache_bytes": 2 * budget}
    rng = np.random.default_rng(0)
    with CorpusStore.start(huge, num_servers=1, **options) as store:
        client = store.client(local=False)
        client.fetch([0], ("embedding",))
        (pid,) = pids(store)
        before = anonymous_bytes(pid)
        for _ in range(20):
            found = client.fetch(rng.integers(0, NUM_ROWS, 200), ("embedding", "time"))
            assert not found["embedding"].any()
        assert anonymous_bytes(pid) - before < 100 * 2**20
        held = sum(
            Path(f"/proc/{pid}/fd", fd).stat().st_blocks for fd in cache_files(pid, tmp_path)
        )
        assert held * 512 < 2 * budget + 30 * 2**20


MANY = 100_000_000
MANY_FIELDS = {"label": Field("int8"), "time": Field("int64"), "key": Field("int8", (16,))}


@pytest.fixture
def many(tmp_path):
    """A corpus of a hundred million rows, 2.5 GB; removed at once, so that few lie about."""
    rng = np.random.default_rng(0)
    keys = rng.integers(-128, 128, (1_000_000, 16), np.int8)
    with CorpusWriter(str(tmp_path / "many"), MANY_FIELDS) as writer:
        for lo in range(0, MANY, len(keys)):
            time = np.arange(lo, lo + len(keys))
            writer.write({"label": (time % 101).astype(np.int8), "time": time, "key": keys})
    yield str(tmp_path / "many")
    shutil.rmtree(tmp_path / "many")


@pytest.mark.slow
def test_labels_of_a_hundred_million_rows(ray_cluster, pids, many):
    corpus = open_corpus(many)
    assert (len(corpus), corpus.time_range) == (MANY, (0, MANY - 1))
    rng = np.random.default_rng(1)
    with CorpusStore.start(corpus, num_servers=1) as store:
        client = store.client(local=False)
        (pid,) = pids(store)
        for _ in range(200):
            ids = rng.integers(0, MANY, 8192)
            assert (client.fetch(ids, ("label",))["label"] == ids % 101).all()
        assert anonymous_bytes(pid) < 2**30


def cache_files(pid: int, folder: Path) -> list[str]:
    """Descriptors of the unnamed files a process has in a folder."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return [fd.name for fd in descriptors if str(fd.readlink()).startswith(str(folder) + "/#")]


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_when_writing(tmp_path, make_rows, write_corpus, monkeypatch):
    uri = str(tmp_path / "c")
    write_corpus(uri, make_rows(20), 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(UserError, match="No space left on device"):
            write_corpus(uri, make_rows(20, start_time=20), 20, mode="append")
    assert open_corpus(uri).version == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_full_node_storage(tmp_path, corpus, monkeypatch):
    reader = ShardReader(Mount("hydrate", str(tmp_path)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(UserError, match="No space left on device on ") as caught:
            reader.take(corpus, np.array([0]), ("embedding",))
        assert str(tmp_path) in str(caught.value)
    assert reader.take(corpus, np.array([0]), ("embedding",))["embedding"].shape == (1, 24)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_corpus_without_rows(tmp_path):
    fields = {"time": Field("int64")}
    with CorpusWriter(str(tmp_path), fields):
        pass
    corpus = open_corpus(str(tmp_path))
    assert (len(corpus), corpus.time_range, len(corpus.read("time"))) == (0, None, 0)
    corpus.verify()
    reader = ShardReader(Mount("mmap"))
    assert reader.take(corpus, np.array([], int), ("time",))["time"].shape == (0,)
