"""Copies on node storage that are damaged, or have no room: rows are right all the same."""

import errno
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusStore
from raclib.corpus.mounts import Mount
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError

ALL = ("embedding", "pair", "label", "flag", "time")
IDS = np.arange(0, 5000, 3)


def flip_a_row(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[130] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = pytest.mark.parametrize("damage", [flip_a_row, cut, empty])


def copy_of(corpus, folder: Path, shard: int = 0, name: str = "embedding") -> Path:
    checksum = corpus.shards[shard].files[name].checksum
    return folder / checksum[:2] / f"{checksum}.npy"


@pytest.fixture
def hydrated(corpus, tmp_path):
    """The cache of a node that has copies of all of the corpus."""
    ShardReader(Mount("hydrate", str(tmp_path))).take(corpus, IDS, ALL)
    return tmp_path


@DAMAGES
def test_a_damaged_copy_is_made_anew_and_it_is_said_once(
    corpus, rows, same, hydrated, capsys, damage
):
    path = copy_of(corpus, hydrated)
    damage(path)
    for _ in range(2):
        reader = ShardReader(Mount("hydrate", str(hydrated)))
        assert same(reader.take(corpus, IDS, ALL), rows, IDS)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{socket.gethostname()}: {path}: ")
    assert said.endswith("; this copy is dropped, and made anew")


@DAMAGES
def test_a_copy_damaged_while_it_is_served(corpus, rows, same, hydrated, damage):
    reader = ShardReader(Mount("hydrate", str(hydrated)))
    for number in range(len(corpus.shards)):
        reader.column(corpus, number, "embedding")
    damage(copy_of(corpus, hydrated))
    assert same(reader.take(corpus, IDS, ("embedding",)), rows, IDS)


def test_a_copy_removed_while_it_is_found(corpus, rows, same, hydrated, monkeypatch):
    """By another job on the node, which needs room."""
    reader, utime = ShardReader(Mount("hydrate", str(hydrated))), os.utime
    victim = copy_of(corpus, hydrated)

    def remove(path):
        utime(path)
        if path == victim:
            monkeypatch.setattr(os, "utime", utime)
            path.unlink()

    monkeypatch.setattr(os, "utime", remove)
    assert same(reader.take(corpus, IDS, ALL), rows, IDS)
    assert victim.exists()


@DAMAGES
def test_a_client_asks_servers_where_its_own_copy_is_damaged(
    ray_cluster, corpus, rows, same, hydrated, capsys, damage
):
    options = {"mount": "hydrate", "cache_dir": str(hydrated)}
    with CorpusStore.start(corpus, num_servers=2, replicas=2, **options) as store:
        client = store.client()
        assert same(client.fetch(IDS, ("label",)), rows, IDS)
        damage(copy_of(corpus, hydrated))
        for _ in range(2):
            assert same(client.fetch(IDS, ("embedding",)), rows, IDS)
        assert client.stats()["calls"] > 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{socket.gethostname()}: {copy_of(corpus, hydrated)}: ")


def test_a_client_passes_over_a_damaged_corpus_of_its_own_machine(
    ray_cluster, copy, rows, same, capsys
):
    """Servers mapped the file before; here a machine's view of a shared folder is wrong."""
    with CorpusStore.start(copy, num_servers=1, mount="mmap") as store:
        assert same(store.client(local=False).fetch(IDS, ALL), rows, IDS)
        path = Path(copy.uri, copy.shards[0].path("embedding"))
        whole = path.with_suffix(".whole")
        path.rename(whole)
        path.write_bytes(whole.read_bytes()[:-9])
        client = store.client()
        assert same(client.fetch(IDS, ALL), rows, IDS)
        assert 0 < client.stats()["local"] < len(IDS)
    assert "truncated shard" in capsys.readouterr().err


def refuse(*args, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_blocks_are_read_uncached_where_the_disk_is_full(
    corpus, rows, same, tmp_path, monkeypatch, capsys
):
    reader, first = ShardReader(Mount("range", str(tmp_path))), corpus.starts[:-1]
    assert same(reader.take(corpus, first, ALL), rows, first)
    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr("raclib.corpus.ranges._say", print)
    for ids in (IDS, IDS[::-1], np.array([4999, 0, 0, 1199, 1200])):
        assert same(reader.take(corpus, ids, ALL), rows, ids)
    assert capsys.readouterr().out.splitlines()[0] == (
        f"block cache in {tmp_path}: [Errno 28] No space left on device on {socket.gethostname()}; "
        "make room there; meanwhile rows are read where they lie, each time"
    )


def test_files_are_mounted_where_the_disk_is_full(corpus, rows, same, tmp_path, monkeypatch):
    """Narrow fields too, which are copied else."""

    for name in ("raclib.corpus.sparse.tempfile.TemporaryFile", "raclib.corpus.atomic._temporary"):
        monkeypatch.setattr(name, refuse)
    reader = ShardReader(Mount("range", str(tmp_path)))
    assert same(reader.take(corpus, IDS, ALL), rows, IDS)


def test_no_room_for_a_copy_names_the_host(corpus, tmp_path):
    with pytest.raises(UserError) as caught:
        ShardReader(Mount("hydrate", str(tmp_path), 1000)).take(corpus, IDS, ALL)
    num_bytes = corpus.shards[0].files["embedding"].num_bytes
    assert str(caught.value) == (
        f"{tmp_path} on {socket.gethostname()}: no room for a copy of {num_bytes:,} bytes; free "
        "the disk, raise cache_bytes or choose mount 'range'"
    )
