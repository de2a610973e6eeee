"""Keys that the workers of a node hold in memory once."""

import socket
import sys
from pathlib import Path

import numpy as np
import torch
import xxhash

from raclib.corpus import Corpus
from raclib.corpus.archive import is_whole
from raclib.corpus.atomic import write_atomic
from raclib.corpus.beginning import Beginning
from raclib.corpus.hydrate import locked, make_room
from raclib.corpus.mounts import Mount
from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys


def load_shared(
    corpus: Corpus | Beginning, rows: np.ndarray | None, dtype: torch.dtype, mount: Mount
) -> KeySet:
    """Keys on the CPU, mapped from a file that the node's first worker makes.

    Pages of a mapped file are in memory once, however many processes map it. The file is one more
    copy on node storage: found again by later jobs, removed when room is needed.

    Args:
        corpus: An open corpus, or its first rows.
        rows: int64, rising: the ids of the rows to keep; all if None.
        dtype: Type of the keys; see `KeySet.load`.
        mount: Where the node keeps copies.

    Raises:
        UserError: if keys are damaged or the copy does not fit.
    """
    path = mount.folder / "keys" / f"{_digest(corpus, rows, dtype)}.pt"
    with locked(mount.folder):
        if path.exists() and _is_whole(path):
            path.touch()  # the time of last use decides what is removed
        else:
            path.parent.mkdir(exist_ok=True)
            state = _state(KeySet.load(corpus, rows=rows, dtype=dtype))
            make_room(mount, sum(values.nbytes for values in state.values()))
            with write_atomic(str(path)) as file:
                torch.save(state, file)
        found = torch.load(path, mmap=True, weights_only=True)
    keys = found["keys"]
    held = QuantizedKeys(keys, found["scales"]) if "scales" in found else keys
    return KeySet(held, found["times"], None if rows is None else torch.from_numpy(rows.copy()))


def _is_whole(path: Path) -> bool:
    """Whether a copy is as it was written; says so where it is not."""
    if is_whole(path):
        return True
    print(f"{socket.gethostname()}: {path}: damaged; this copy is made anew", file=sys.stderr)
    return False


def _state(keys: KeySet) -> dict[str, torch.Tensor]:
    if isinstance(keys.keys, QuantizedKeys):
        held = {"keys": keys.keys.values, "scales": keys.keys.scales}
    else:
        held = {"keys": keys.keys}
    return {**held, "times": keys.times_K}


def _digest(corpus: Corpus | Beginning, rows: np.ndarray | None, dtype: torch.dtype) -> str:
    """Names keys by content, so that those of a corpus made anew are never mixed up."""
    digest = xxhash.xxh3_128(f"{dtype} {len(corpus)}".encode())
    for shard in corpus.shards:
        digest.update("".join(shard.files[name].checksum for name in ("key", "time")).encode())
    if rows is not None:
        digest.update(rows.tobytes())
    return digest.hexdigest()
