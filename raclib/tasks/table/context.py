"""Rows that are looked up for an example without a draw, and what is known of any row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.models.copy_reader import CopyReader
from raclib.models.perceiver_reader import Classifier
from raclib.models.row_reading import RowReading
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

    def find(self, keys: KeySet, bias_K: Tensor, queries_Bd: Tensor, times_B: Tensor) -> Tensor:
        """Rows `[B, N]` known strictly before `times_B`, -1 where there are fewer."""
        assert not isinstance(keys.keys, QuantizedKeys)
        _, hi_B = keys.window(times_B)
        found, upper_B = [], hi_B
        for count, end in zip(self.nearest, self.ends, strict=True):
            lower_B = (hi_B - end).clamp_min(0)
            bounds = lower_B, upper_B
            found.append(nearest(queries_Bd, keys.keys, count, *bounds, bias_K).rows_BN)
            upper_B = lower_B
        newest_BN = hi_B[:, None] - 1 - torch.arange(self.newest, device=hi_B.device)
        return torch.cat([*found, newest_BN.clamp_min(-1)], dim=1)


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
        self.label_K = torch.from_numpy(label_K.astype(np.int16)).to(device)
        self.event_K = torch.tensor(event_K).to(device)
        self.examples_X = torch.empty(0, dtype=torch.int64)
        self.found_XN = torch.empty(0, len(strata.groups), dtype=torch.int32)

    def search(self, keys_Xd: Tensor, event_X: np.ndarray) -> Tensor:
        """Rows `[X, N]` int32 of many examples, by their keys and times.

        In the order of time each key is read about once; in the order of training every step would
        read all of them.
        """
        times_X = torch.tensor(event_X).to(self.event_K.device)
        queries_Xd = keys_Xd.float().to(self.event_K.device)
        return self.strata.find(self.keys, self.bias_K, queries_Xd, times_X).int()

    def remember(self, rows: np.ndarray, found_XN: Tensor) -> None:
        """Keeps what was found for examples of these ids, int64 `[X]`, rising."""
        self.examples_X = torch.tensor(rows).to(self.event_K.device)
        self.found_XN = found_XN.to(self.event_K.device)

    def look(self, batch: Batch) -> Tensor:
        """Rows `[B, N]` of examples: those that are remembered, else they are searched."""
        if not len(self.examples_X):
            return self.strata.find(self.keys, self.bias_K, batch["key"].float(), batch["time"])
        at_B = torch.searchsorted(self.examples_X, batch["row"])
        return self.found_XN[at_B].long()

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
