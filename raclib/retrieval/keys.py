"""The keys of a corpus on the device, and which of them an example may draw."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from raclib.errors import UserError
from raclib.retrieval.growing import grow, with_room
from raclib.retrieval.table import QuantizedKeys, quantize

PIECE_ROWS = 2**18  # rows copied to the device at once


class KeySource(Protocol):
    """What is asked of a corpus."""

    @property
    def fields(self) -> Any:
        """Field descriptions, with `dtype` and `shape`, by name."""
        ...

    def __len__(self) -> int: ...

    def iter_field(self, name: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """First row and rows of each shard, in time order."""
        ...


class KeySet:
    """Keys in time order, one copy a device, shared by every example.

    Attributes:
        keys: Float [K, d], or `QuantizedKeys` of int8.
        times_K: int64 [K], milliseconds, on the device of the keys; never falls.
        rows_K: int64 [K], the corpus's ids of the keys; None where they are 0..K-1.

    Args:
        num_checked: So many of the first keys and times are known to be right.

    Raises:
        UserError: The parts do not fit, times fall, or a key is not finite.
    """

    def __init__(
        self,
        keys: Tensor | QuantizedKeys,
        times_K: Tensor,
        rows_K: Tensor | None = None,
        num_checked: int = 0,
    ) -> None:
        self.keys, self.times_K, self.rows_K = keys, times_K, rows_K
        num_keys = len(keys.values if isinstance(keys, QuantizedKeys) else keys)
        if len(times_K) != num_keys or (rows_K is not None and len(rows_K) != num_keys):
            raise UserError(f"{num_keys} keys but {len(times_K)} times: give one time and id a key")
        newer_K = times_K[max(0, num_checked - 1) :]
        if bool((newer_K[1:] < newer_K[:-1]).any()):
            raise UserError("times fall: sort keys by the time their label became available")
        held = keys.scales if isinstance(keys, QuantizedKeys) else keys
        _check_finite(held[num_checked:], num_checked)

    @classmethod
    def load(
        cls,
        corpus: KeySource,
        rows: NDArray[np.int64] | None = None,
        field: str = "key",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
        room: int = 0,
    ) -> "KeySet":
        """Reads keys and times shard by shard; beside the result, memory for one piece of a shard.

        Args:
            corpus: An open corpus.
            rows: int64, rising: the ids of the rows to keep; all if None.
            field: Name of the key field, [d] floats a row.
            device: Where keys and times go.
            dtype: A float type, or int8 for `QuantizedKeys`.
            progress: Show a progress bar.
            room: Keys for which room is kept; see `extend`.
        """
        _check_field(corpus, field)
        _check_rows(rows, len(corpus))
        num_keys = len(corpus) if rows is None else len(rows)
        shape = num_keys, *corpus.fields[field].shape
        keys = with_room(shape, room, dtype, device)
        num_scales, scale_room = (num_keys, room) if dtype == torch.int8 else (0, 0)
        scales = with_room((num_scales,), scale_room, torch.float32, device)
        with tqdm(total=num_keys, unit=" keys", disable=not progress) as bar:
            for at, piece in _pieces(corpus, field, rows):
                part = slice(at, at + len(piece))
                piece = piece.to(device)
                if dtype == torch.int8:
                    keys[part], scales[part] = quantize(piece.float())
                else:
                    keys[part] = piece
                _check_finite(scales[part] if dtype == torch.int8 else keys[part], at)
                bar.update(len(piece))
        times_K = with_room((num_keys,), room, torch.int64, device)
        for at, piece in _pieces(corpus, "time", rows):
            times_K[at : at + len(piece)] = piece
        held = QuantizedKeys(keys, scales) if dtype == torch.int8 else keys
        ids = None if rows is None else torch.from_numpy(rows.copy()).to(device)
        return cls(held, times_K, ids)

    def extend(self, keys_Nd: NDArray[Any], times_N: NDArray[np.int64]) -> "KeySet":
        """All of these, and keys that became available later; only the newest may be extended.

        These are not copied where there is room: see `growing.grow`. They stay what they are.

        Args:
            keys_Nd: Floats `[N, d]`.
            times_N: Milliseconds.

        Raises:
            UserError: if times fall, or a key is not finite.
        """
        assert self.rows_K is None, "all rows of a corpus"
        more_Nd = torch.from_numpy(keys_Nd).to(self.times_K.device)
        held: Tensor | QuantizedKeys
        if isinstance(self.keys, QuantizedKeys):
            more = quantize(more_Nd.float())
            held = QuantizedKeys(*map(grow, self.keys, more))
        else:
            held = grow(self.keys, more_Nd)
        times_K = grow(self.times_K, torch.from_numpy(times_N))
        return KeySet(held, times_K, num_checked=len(self))

    def __len__(self) -> int:
        return len(self.times_K)

    def window(self, times_B: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
        """The keys [lo, hi) that were available strictly before each time, the last `size` of them.

        Args:
            times_B: int64, milliseconds.
            size: Keys in a window; None for the whole history.
        """
        hi_B = torch.searchsorted(self.times_K, times_B.to(self.times_K))
        lo_B = torch.zeros_like(hi_B) if size is None else (hi_B - size).clamp_min(0)
        return lo_B, hi_B

    def row_ids(self, index_BS: Tensor) -> Tensor:
        """Corpus ids of drawn keys; -1 stays -1."""
        if self.rows_K is None:
            return index_BS
        return self.rows_K[index_BS.clamp_min(0)].where(index_BS >= 0, -1)


def _check_field(corpus: KeySource, field: str) -> None:
    missing = {field, "time"} - set(corpus.fields)
    if missing:
        raise UserError(
            f"the corpus has no field {sorted(missing)[0]!r}: it has {sorted(corpus.fields)}"
        )
    if len(corpus.fields[field].shape) != 1:
        raise UserError(f"field {field!r} has shape {corpus.fields[field].shape}: keys are vectors")


def _check_rows(rows: NDArray[np.int64] | None, num_rows: int) -> None:
    if rows is None or not len(rows):
        return
    if rows[0] < 0 or rows[-1] >= num_rows or bool((np.diff(rows) <= 0).any()):
        raise UserError(
            f"rows must rise within 0..{num_rows - 1}, the corpus: sort them, once each"
        )


def _check_finite(keys: Tensor, first: int) -> None:
    for start in range(0, len(keys), PIECE_ROWS):
        if not bool(keys[start : start + PIECE_ROWS].isfinite().all()):
            near = f"{first + start}..{first + min(start + PIECE_ROWS, len(keys)) - 1}"
            raise UserError(
                f"NaN or infinity among keys {near}: mend the corpus, or hold keys in a wider type"
            )


def _pieces(
    corpus: KeySource, field: str, rows: NDArray[np.int64] | None
) -> Iterator[tuple[int, Tensor]]:
    """Position among the kept rows, and values, copied: shards may be read-only maps."""
    for first, shard in corpus.iter_field(field):
        kept = slice(first, first + len(shard))
        if rows is not None:
            kept = slice(*np.searchsorted(rows, [first, first + len(shard)]).tolist())
        for at in range(kept.start, kept.stop, PIECE_ROWS):
            stop = min(at + PIECE_ROWS, kept.stop)
            index = slice(at - first, stop - first) if rows is None else rows[at:stop] - first
            yield at, torch.from_numpy(np.array(shard[index]))
