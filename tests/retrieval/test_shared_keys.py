"""Keys that several processes map from one file."""

import multiprocessing
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.corpus.mounts import Mount
from raclib.retrieval.keys import KeySet
from raclib.retrieval.shared_keys import load_shared
from raclib.retrieval.table import QuantizedKeys

NUM_ROWS = 200_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("keys"))
    fields = {"key": Field("float16", (32,)), "time": Field("int64")}
    rng = np.random.default_rng(0)
    with CorpusWriter(folder, fields, 50_000) as writer:
        keys = rng.standard_normal((NUM_ROWS, 32)).astype(np.float16)
        writer.write({"key": keys, "time": np.arange(NUM_ROWS)})
    return open_corpus(folder)


@pytest.fixture
def mount(tmp_path):
    return Mount("mmap", str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("rows", [None, np.arange(10, NUM_ROWS, 7)], ids=["all", "some"])
def test_they_are_those_that_a_single_worker_loads(corpus, mount, dtype, rows):
    expected = KeySet.load(corpus, rows=rows, dtype=dtype)
    for _ in range(2):  # made, and found again
        found = load_shared(corpus, rows, dtype, mount)
        assert torch.equal(found.times_K, expected.times_K)
        if isinstance(expected.keys, QuantizedKeys):
            assert torch.equal(found.keys.values, expected.keys.values)
            assert torch.equal(found.keys.scales, expected.keys.scales)
        else:
            assert torch.equal(found.keys, expected.keys)
    assert len(list(mount.folder.glob("keys/*"))) == 1


@pytest.mark.parametrize("size", [0, 1000, None], ids=["empty", "cut", "flipped"])
def test_a_damaged_copy_is_made_anew(corpus, mount, capsys, size):
    rows = np.arange(1000)
    expected = KeySet.load(corpus, rows=rows)
    load_shared(corpus, rows, torch.float32, mount)
    (path,) = mount.folder.glob("keys/*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[:size])
    for _ in range(2):
        assert torch.equal(load_shared(corpus, rows, torch.float32, mount).keys, expected.keys)
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"{socket.gethostname()}: {path}: damaged; this copy is made anew"


def test_other_rows_and_types_are_other_files(corpus, mount):
    for rows in (None, np.arange(100)):
        for dtype in (torch.float32, torch.bfloat16):
            load_shared(corpus, rows, dtype, mount)
    assert len(list(mount.folder.glob("keys/*"))) == 4


def test_a_second_process_holds_no_copy(corpus, mount):
    load_shared(corpus, None, torch.float32, mount)  # 26 MB
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        private, shared = pool.apply(_memory_of_keys, (corpus, mount))
    assert private < 5e6
    assert shared > 20e6


def _memory_of_keys(corpus, mount) -> tuple[int, int]:
    """Bytes of private and of shared memory that loading and reading all keys adds."""
    before = _memory()
    keys = load_shared(corpus, None, torch.float32, mount)
    keys.keys.sum()
    after = _memory()
    return after[0] - before[0], after[1] - before[1]


def _memory() -> tuple[int, int]:
    sums = dict.fromkeys(("RssAnon", "RssFile"), 0)
    for line in Path("/proc/self/status").read_text().splitlines():
        name = line.split(":")[0]
        if name in sums:
            sums[name] = int(line.split()[1]) * 1024
    return sums["RssAnon"], sums["RssFile"]
