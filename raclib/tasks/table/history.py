"""Rows of the corpus as tensors: what is retrieved for examples, and how inputs are scaled."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch, to_tensors
from raclib.corpus import Corpus
from raclib.corpus.manifest import TIME
from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys
from raclib.tasks.table.config import TableSettings
from raclib.tasks.table.context import Context, age_unit, strata_of
from raclib.tasks.table.labels import read_labels
from raclib.tasks.table.reader import TableReader

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Mean and deviation of fields, `[width]` each."""


def fresh_statistics(shapes: Mapping[str, int | tuple[int, ...]]) -> Statistics:
    """Of fields of these shapes, as of a model whose own come with its trained weights."""
    return {name: (torch.zeros(shape), torch.ones(shape)) for name, shape in shapes.items()}


class TableHistory:
    """Rows strictly earlier than an example, of a sliding window: see `training.step.History`.

    Args:
        keys: Keys and times of the rows that may be retrieved.
        reader: Reads the rows drawn.
        window: Rows of the window.
        with_inputs: Whether a row's inputs are read, beside its label.
        context: Looks rows up without a draw, and knows of all what a reader may ask; None where
            all rows are drawn and their label is all that is read of them.
    """

    def __init__(
        self,
        keys: KeySet,
        reader: TableReader,
        window: int,
        with_inputs: bool,
        context: Context | None = None,
    ) -> None:
        self.keys, self.reader, self.window, self.context = keys, reader, window, context
        self.fields = reader.inputs if with_inputs else ()

    def select(self, batch: Batch) -> tuple[Tensor | QuantizedKeys, Tensor, Tensor]:
        """The shared keys and each example's window."""
        lo_B, hi_B = self.keys.window(batch["time"], self.window)
        return self.keys.keys, lo_B, hi_B

    def look(self, batch: Batch) -> Tensor:
        """Rows that are looked up, `[B, N]`."""
        if self.context is None:
            return torch.empty(
                len(batch["time"]), 0, dtype=torch.int64, device=batch["time"].device
            )
        return self.context.look(batch)

    def fetch(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """Label (and inputs, where full rows are retrieved) of rows; what the context knows."""
        known = {} if self.context is None else self.context.describe(batch, rows_MBS)
        if known and not self.fields:
            return known
        # Where too few rows are eligible a draw is -1; row 0 stands in and the classifier's mask
        # keeps it unseen.
        ids = self.keys.row_ids(rows_MBS.clamp(min=0)).flatten().cpu().numpy()
        found = self.reader.read(ids, self.fields)
        return known | {
            name: values.unflatten(0, rows_MBS.shape)
            for name, values in to_tensors(found, rows_MBS.device).items()
        }


def make_history(
    corpus: Corpus, keys: KeySet, reader: TableReader, config: TableSettings, cutoff: int
) -> TableHistory:
    """What examples may retrieve of the rows of a corpus whose keys these are.

    Args:
        corpus: The rows.
        keys: Keys of those that may be retrieved.
        reader: Reads rows.
        config: The window, what is looked up, what is read.
        cutoff: ms since 1970; see `age_unit`.
    """
    context = None
    if config.reads_context:
        rows = slice(len(keys)) if keys.rows_K is None else keys.rows_K.cpu().numpy()
        label, event = read_labels(corpus, reader.labelling), corpus.read_mapped(reader.time)
        unit = age_unit(corpus.read_mapped(TIME), cutoff)
        strata = strata_of(config.retrieval)
        context = Context(strata, keys, label[rows], event[rows], unit)
    with_inputs = config.retrieval.retrieve == "row"
    return TableHistory(keys, reader, config.split.window, with_inputs, context)


def extend_history(
    history: TableHistory, corpus: Corpus, reader: TableReader, cutoff: int
) -> TableHistory:
    """The same with the rows that a newer version of the corpus has more; see `KeySet.extend`.

    Args:
        history: Of all rows of the earlier version.
        corpus: The newer one. Only what it has more is read.
        reader: Reads rows of the newer one.
        cutoff: ms since 1970; see `age_unit`.
    """
    first, context = len(history.keys), history.context
    keys = history.keys.extend(corpus.read("key", first), corpus.read(TIME, first))
    if context is not None:
        label, event = read_labels(corpus, reader.labelling, first), corpus.read(reader.time, first)
        unit = age_unit(keys.times_K.cpu().numpy(), cutoff)
        context = context.extend(keys, label, event, unit)
    return TableHistory(keys, reader, history.window, bool(history.fields), context)


def input_statistics(
    reader: TableReader,
    rows: np.ndarray,
    fields: tuple[str, ...],
    seed: int,
    num_sample: int = 20_000,
) -> Statistics:
    """Mean and deviation of fields over a sample of training examples."""
    sample = np.sort(np.random.default_rng(seed).permutation(rows)[:num_sample])
    found = reader.read(sample, fields)
    columns = {name: found[name].reshape(len(sample), -1) for name in fields}
    return {
        name: (
            torch.from_numpy(values.mean(axis=0, dtype=np.float64)),
            torch.from_numpy(values.std(axis=0, dtype=np.float64)),
        )
        for name, values in columns.items()
    }
