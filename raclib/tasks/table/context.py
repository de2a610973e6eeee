"""Rows that are looked up for an example without a draw, and what is known of any row."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.models.copy_reader import CopyReader
from raclib.models.perceiver_reader import Classifier
from raclib.models.row_reading import RowReading
from raclib.retrieval.growing import grow
from raclib.retrieval.keys import KeySet
from raclib.retrieval.nearest import distance_bias, nearest
from raclib.retrieval.table import QuantizedKeys
from raclib.tasks.table.config import TableRetrievalConfig, TableSettings

AGE_ROWS = 4000
"""Unit of ages: so many labels that became known, and the time that took before the cutoff."""


@dataclass(frozen=True)
class Strata:
    """Which rows are looked up: the nearest in strata of age, and the newest.

    Attributes:
        nearest: Rows of each stratum, those of the smallest squared distance of keys.
        ends: Where each stratum ends, in labels known before the example; the first begins at the
            newest, the others where the one before ends.
        newest: Rows whose labels became known last.
    """

    nearest: Sequence[int]
    ends: Sequence[int]
    newest: int

    @property
    def groups(self) -> list[int]:
        """The group of each row, by its column: its stratum, and a last one of the newest."""
        sizes = [*self.nearest, self.newest]
        return np.repeat(np.arange(len(sizes)), sizes).tolist()

    def find(
        self,
        keys: KeySet,
        bias_K: Tensor,
        queries_Bd: Tensor,
        times_B: Tensor,
        left_out_L: Tensor | None = None,
    ) -> Tensor:
        """Rows `[B, N]` known strictly before `times_B`, -1 where there are fewer.

        Args:
            keys: Those that are searched.
            bias_K: As for `nearest`; -inf where a row is left out.
            queries_Bd: Float32.
            times_B: ms since 1970.
            left_out_L: Rows that are left out, int64, rising.
        """
        assert not isinstance(keys.keys, QuantizedKeys)
        _, hi_B = keys.window(times_B)
        found, upper_B = [], hi_B
        for count, end in zip(self.nearest, self.ends, strict=True):
            lower_B = (hi_B - end).clamp_min(0)
            bounds = lower_B, upper_B
            found.append(nearest(queries_Bd, keys.keys, count, *bounds, bias_K).rows_BN)
            upper_B = lower_B
        return torch.cat([*found, _newest(hi_B, self.newest, left_out_L)], dim=1)


def _newest(hi_B: Tensor, count: int, left_out_L: Tensor | None) -> Tensor:
    """The last rows `[B, count]` before `hi_B`, newest first, without those that are left out."""
    back_N = 1 + torch.arange(count, device=hi_B.device)
    if left_out_L is None:
        return (hi_B[:, None] - back_N).clamp_min(-1)
    # By their rank among the rows that are left: before a row left out lie so many of them.
    rank_BN = (hi_B - torch.searchsorted(left_out_L, hi_B))[:, None] - back_N
    num_before_L = left_out_L - torch.arange(len(left_out_L), device=hi_B.device)
    skipped_BN = torch.searchsorted(num_before_L, rank_BN, right=True)
    return (rank_BN + skipped_BN).masked_fill(rank_BN < 0, -1)


def read_by(
    config: TableSettings, model: RetrievalClassifier, num_classes: int, key_dim: int
) -> RetrievalClassifier:
    """A model of the paper's networks whose rows are read by the reader that is asked for.

    Args:
        config: Which reader, and which rows there are; the drawn ones are a group of their own.
        model: The paper's networks; gives the queries, and the tokens of full rows.
        num_classes: C.
        key_dim: Width of a key.
    """
    if config.reader == "perceiver":
        return model
    strata = strata_of(config.retrieval)
    drawn = [len(strata.ends) + 1] * config.retrieval.num_draws
    rows = None
    if config.retrieval.retrieve == "row":
        assert isinstance(model.classify, Classifier)
        rows = RowReading(num_classes, model.classify.tokens, model.classify.head.in_features)
    reader = CopyReader(num_classes, key_dim, torch.tensor(drawn + strata.groups), rows)
    return RetrievalClassifier(model.queries, reader)


def strata_of(config: TableRetrievalConfig) -> Strata:
    """The strata of a configuration."""
    return Strata(config.nearest, config.strata, config.newest)


class Context:
    """Looks rows up, and tells what the device knows of rows: no server is asked.

    Args:
        strata: Which rows.
        keys: Keys of the rows that may be retrieved, and when their labels were known.
        label_K: Their labels.
        event_K: When they happened, ms since 1970.
        age_ms: The time that `AGE_ROWS` labels took.
    """

    def __init__(
        self, strata: Strata, keys: KeySet, label_K: np.ndarray, event_K: np.ndarray, age_ms: float
    ) -> None:
        assert not isinstance(keys.keys, QuantizedKeys)
        device = keys.keys.device
        self.strata, self.keys, self.age_ms = strata, keys, age_ms
        self.bias_K = distance_bias(keys.keys)
        self.left_out_L: Tensor | None = None
        self.label_K = torch.from_numpy(label_K.astype(np.int16)).to(device)
        self.event_K = torch.from_numpy(event_K).to(device)
        self.examples_X = torch.empty(0, dtype=torch.int64)
        self.found_XN = torch.empty(0, len(strata.groups), dtype=torch.int32)

    def search(self, keys_Xd: Tensor, event_X: np.ndarray) -> Tensor:
        """Rows `[X, N]` int32 of many examples, by their keys and times.

        In the order of time each key is read about once; in the order of training every step would
        read all of them.
        """
        times_X = torch.tensor(event_X).to(self.event_K.device)
        queries_Xd = keys_Xd.float().to(self.event_K.device)
        return self._find(queries_Xd, times_X).int()

    def remember(self, rows: np.ndarray, found_XN: Tensor) -> None:
        """Keeps what was found for examples of these ids, int64 `[X]`, rising."""
        self.examples_X = torch.tensor(rows).to(self.event_K.device)
        self.found_XN = found_XN.to(self.event_K.device)

    def look(self, batch: Batch) -> Tensor:
        """Rows `[B, N]` of examples: those that are remembered, else they are searched."""
        if not len(self.examples_X):
            return self._find(batch["key"].float(), batch["time"])
        at_B = torch.searchsorted(self.examples_X, batch["row"])
        return self.found_XN[at_B].long()

    def _find(self, queries_Bd: Tensor, times_B: Tensor) -> Tensor:
        return self.strata.find(self.keys, self.bias_K, queries_Bd, times_B, self.left_out_L)

    def extend(self, keys: KeySet, label_N: np.ndarray, event_N: np.ndarray, age_ms: float) -> Self:
        """The same with rows that came later, by `KeySet.extend`; these stay what they are.

        Args:
            keys: All keys, with those of N rows more.
            label_N: Labels of these.
            event_N: When they happened, ms since 1970.
            age_ms: The time that `AGE_ROWS` labels took.
        """
        assert not isinstance(keys.keys, QuantizedKeys)
        longer = copy(self)
        longer.keys, longer.age_ms = keys, age_ms
        longer.bias_K = grow(self.bias_K, distance_bias(keys.keys[len(self.keys) :]))
        longer.label_K = grow(self.label_K, torch.from_numpy(label_N.astype(np.int16)))
        longer.event_K = grow(self.event_K, torch.tensor(event_N))
        return longer

    def leave_out(self, rows: np.ndarray) -> Self:
        """The same without some rows, int64, rising, which are found no more, here neither."""
        other = copy(self)
        other.left_out_L = torch.tensor(rows).to(self.event_K.device)
        other.bias_K[other.left_out_L] = -torch.inf
        return other

    def describe(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """`label`, `key`, `age` and `event_age` of rows, `[M, B, S, ...]`; of row 0 where -1."""
        assert not isinstance(self.keys.keys, QuantizedKeys)
        at_MBS = rows_MBS.clamp_min(0)
        _, hi_B = self.keys.window(batch["time"])
        return {
            "label": self.label_K[at_MBS].long(),
            "key": self.keys.keys[at_MBS].float(),
            "age": (hi_B[:, None] - at_MBS) / AGE_ROWS,
            "event_age": ((batch["time"][:, None] - self.event_K[at_MBS]) / self.age_ms).float(),
        }


def age_unit(time: np.ndarray, cutoff: int) -> float:
    """The time that `AGE_ROWS` labels took to become known before the cutoff, ms.

    Args:
        time: When labels were known, rising.
        cutoff: ms since 1970.
    """
    num_known = int(np.searchsorted(time, cutoff))
    return max(1.0, (cutoff - int(time[0])) / max(1, num_known) * AGE_ROWS)
