"""A version of a corpus as the memory of a trained model: encoded rows in, answers out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from raclib.arrays import Arrays
from raclib.batch import to_tensors
from raclib.corpus import Corpus
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.base_scores import load_folds
from raclib.models.base import OutOfFold
from raclib.models.classifier import RetrievalClassifier
from raclib.models.copy_reader import CopyReader
from raclib.models.perceiver_reader import Classifier
from raclib.retrieval.keys import KeySet
from raclib.serving.answers import heaviest
from raclib.serving.rows import ServedRows
from raclib.serving.service.journal import SERVICE
from raclib.tasks.table.config import TableSettings
from raclib.tasks.table.history import TableHistory, extend_history, make_history
from raclib.tasks.table.record import NUM_RECENT, Record
from raclib.training.predict import retrieve_greedy

CPU = torch.device("cpu")
MIN_ROOM = 100_000
"""Keys for which room is kept at least; beyond half of those that are there."""


class Said(NamedTuple):
    """What is said of rows before the record weighs it.

    Attributes:
        answers: Log-probabilities `[N, C]` by the model, and by the base where it reads that.
        rows_NE, weights_NE: As in `Answers`, before the record.
    """

    answers: list[np.ndarray]
    rows_NE: np.ndarray
    weights_NE: np.ndarray


@dataclass(frozen=True)
class Memory:
    """One version of a corpus, with the model that looks rows up in it.

    A copy reader's answers are mixed with those of its base classifier, each weighed by how it did
    on the rows of the corpus that became known last: see `tasks.table.record`.

    Attributes:
        corpus: What may be retrieved, whose label was known before a row happened.
        rows: Reads its rows, and new ones.
        config: Window, draw, and how many rows are predicted at a time.
        model: The trained model.
        history: Keys, and what is known of rows; None for a model that retrieves nothing.
        folds: The base classifiers, as they were when the keys were read; None where the model
            reads none.
        left_out: Ids of rows that are retrieved no more, int64, rising.
        recent: Ids of the rows of the record, int64, rising.
        record: Of the rows whose labels became known last, each predicted at its own time; None
            without a base classifier.
    """

    corpus: Corpus
    rows: ServedRows
    config: TableSettings
    model: RetrievalClassifier
    history: TableHistory | None
    folds: OutOfFold | None
    left_out: np.ndarray
    recent: np.ndarray
    record: Record | None = None

    @classmethod
    def open(
        cls,
        corpus: Corpus,
        rows: ServedRows,
        config: TableSettings,
        weights: Mapping[str, Tensor],
        left_out: np.ndarray,
    ) -> Self:
        """Reads the keys of a version.

        Raises:
            UserError: if they have another width than those the model learned from.
        """
        model = rows.build_model(retrieves(weights)).eval()
        _check_widths(model, weights, corpus)
        model.load_state_dict(weights)
        history = None
        if retrieves(weights):
            dtype, room = getattr(torch, config.retrieval.key_dtype), MIN_ROOM + len(corpus) // 2
            keys = KeySet.load(corpus, dtype=dtype, room=room)
            history = make_history(corpus, keys, rows.reader, config, rows.cutoff)
        folds, none = load_folds(corpus) if config.reader == "copy" else None, np.empty(0, np.int64)
        memory = cls(corpus, rows, config, model, history, folds, none, none)
        return memory.leave_out(left_out)

    def leave_out(self, rows: np.ndarray) -> Self:
        """The same in which only these rows are retrieved no more, nor of the record.

        Args:
            rows: Ids, int64, rising; those that were left out among them.
        """
        without = replace(self, history=_without(self.history, rows), left_out=rows)
        if self.folds is None:
            return without
        recent = without._recent(0)
        return replace(without, recent=recent, record=without._remember(recent))

    def extend(self, corpus: Corpus, rows: ServedRows) -> Self:
        """The same with the rows that a newer version has more; nothing else is read.

        This one still answers as before, but only the newest may be extended.
        """
        history = self.history
        if history is not None:
            history = extend_history(history, corpus, rows.reader, rows.cutoff)
        longer = replace(self, corpus=corpus, rows=rows, history=history)
        if self.record is None:
            return longer
        # Labels that were known later change no earlier answer.
        new = longer._recent(len(self.corpus))
        later = longer._remember(new)
        keep = self.recent >= _first_recent(corpus)
        recent = np.concatenate([self.recent[keep], new])
        return replace(longer, recent=recent, record=self.record.join(later, keep))

    def is_extended_by(self, corpus: Corpus) -> bool:
        """Whether a version has the rows of this one with the same keys, and perhaps more.

        Rows keep their numbers and what they are, whatever shards hold them.
        """
        mine = self.corpus
        said = [{**each.provenance, SERVICE: None} for each in (mine, corpus)]
        return mine.fields == corpus.fields and said[0] == said[1] and len(corpus) >= len(mine)

    @torch.no_grad()
    def answer(self, rows: Arrays, count: int) -> Said:
        """What is said of encoded rows, with `count` rows of the corpus each.

        Args:
            rows: The inputs of N rows, `key` and `time`, when they happened in ms since 1970.
            count: Rows of the corpus.
        """
        if self.folds is not None and "base" not in rows:
            rows = rows | {"base": self.rows.log_probs(rows, self.folds.base)}
        size = self.config.evaluate.batch_size
        parts = [
            self._read({name: array[start : start + size] for name, array in rows.items()}, count)
            for start in range(0, len(rows["time"]), size)
        ]
        log_probs, found, weights = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        bases = [rows["base"]] if self.folds is not None else []
        return Said([log_probs, *bases], found, weights)

    def _read(self, rows: Arrays, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, rows and their weights."""
        batch, history = to_tensors(rows, CPU), self.history
        if history is None:
            log_probs_BC = self.model.classify(batch).log_softmax(dim=1)
            none_BE = log_probs_BC.new_zeros(len(log_probs_BC), count)
            return log_probs_BC, none_BE.long() - 1, none_BE
        found = retrieve_greedy(self.model, history, batch, self.config.retrieval)
        # Those that are looked up are never left out; a drawn one is not read.
        is_out_BS = torch.isin(found.rows_BS, torch.from_numpy(self.left_out))
        rows_BS = found.rows_BS.masked_fill(is_out_BS, -1)
        assert isinstance(self.model.classify, CopyReader | Classifier)
        read = self.model.classify.read(batch, found.values, found.hide_input_B, rows_BS < 0)
        best = heaviest(history.keys.row_ids(rows_BS), read.weight_BS, count)
        return read.logits_BC.log_softmax(dim=1), *best

    def _recent(self, first: int) -> np.ndarray:
        """Ids from the first on of the rows whose labels became known last."""
        rows = np.arange(max(first, _first_recent(self.corpus)), len(self.corpus))
        return np.setdiff1d(rows, self.left_out, assume_unique=True)

    def _remember(self, rows: np.ndarray) -> Record:
        """The record of rows, each predicted at its own time."""
        if not len(rows):
            return Record(np.empty(0, np.int64), np.empty((0, 2)))
        found = self.rows.reader.examples(rows) | {"base": self._unseen(rows)}
        label, known = found.pop("label"), self.rows.reader.fetch(rows, (TIME,))[TIME]
        return Record.of(known, label, self.answer(found, 0).answers)

    def _unseen(self, rows: np.ndarray) -> np.ndarray:
        """What base classifiers that did not see some rows say of them."""
        assert self.folds is not None
        old, new = np.split(rows, [np.searchsorted(rows, len(self.folds.fold_N))])
        found = [self.folds.log_probs(self.rows.features, old)]
        if len(new):  # rows that were appended are in no fold
            found.append(self.folds.base.log_probs(self.rows.features(new)))
        return np.concatenate(found)


def _first_recent(corpus: Corpus) -> int:
    """The first of the rows that a record looks at: twice as many as it weighs by, so that rows of
    a while ago have theirs too."""
    return max(0, len(corpus) - 2 * NUM_RECENT)


def _without(history: TableHistory | None, left_out: np.ndarray) -> TableHistory | None:
    if history is None or history.context is None:
        return history
    context = history.context.leave_out(left_out)
    return TableHistory(history.keys, history.reader, history.window, bool(history.fields), context)


def _check_widths(
    model: RetrievalClassifier, weights: Mapping[str, Tensor], corpus: Corpus
) -> None:
    """The model is made for the keys of this version of the corpus; its weights may not be."""
    own = model.state_dict()
    if any(name in own and own[name].shape != values.shape for name, values in weights.items()):
        raise UserError(
            f"{corpus.uri}: version {corpus.version}: its keys, {corpus.fields['key'].shape[0]} "
            "numbers, are not as wide as those the model was trained on; give it keys of those "
            "widths again (jobs/corpus.py rekey), or train again"
        )


def retrieves(weights: Mapping[str, Tensor]) -> bool:
    """Whether a model of these weights retrieves rows."""
    marks = ("queries.", "classify.slot_SW", "classify.metric.")
    return any(name.startswith(marks) for name in weights)
