"""A trained model with a corpus as its memory: encoded rows in, probabilities out."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from raclib.arrays import Arrays
from raclib.batch import to_tensors
from raclib.corpus import Corpus
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.keys import KeySet
from raclib.tasks.table.config import TableSettings
from raclib.tasks.table.history import make_history
from raclib.tasks.table.reader import TableReader
from raclib.tasks.table.record import NUM_RECENT, Record
from raclib.training.predict import classify_greedy

CPU = torch.device("cpu")


LogProbs = Callable[[Arrays], np.ndarray]


class Predictor:
    """Predicts by greedy retrieval from all rows of a version of a corpus.

    A copy reader's answers are mixed with those of its base classifier, each weighed by how it did
    on the rows of the corpus that became known last: see `tasks.table.record`.

    Args:
        model: A model of fresh weights.
        weights: The trained ones.
        corpus: What may be retrieved, whose label was known before a row happened.
        reader: Reads the rows of the corpus; where the model reads answers of a base classifier,
            with those of the rows of `recent_rows`.
        config: Window, draw, and how many rows are predicted at a time.
        cutoff: ms since 1970; see `age_unit`.
        base: Log-probabilities of the base classifier for new rows, `[N, C]`; None where the model
            reads none.

    Raises:
        UserError: if the keys of the corpus have another width than those the model learned from.
    """

    def __init__(
        self,
        model: RetrievalClassifier,
        weights: Mapping[str, Tensor],
        corpus: Corpus,
        reader: TableReader,
        config: TableSettings,
        cutoff: int,
        base: LogProbs | None = None,
    ) -> None:
        self.config, self.model, self.base = config, model.eval(), base
        _check_widths(model, weights, corpus)
        self.model.load_state_dict(weights)
        self.history = None
        if retrieves(weights):
            keys = KeySet.load(corpus, dtype=getattr(torch, config.retrieval.key_dtype))
            self.history = make_history(corpus, keys, reader, config, cutoff)
        self.record = None if base is None else self._read_record(corpus, reader)

    @torch.no_grad()
    def __call__(self, rows: Arrays) -> np.ndarray:
        """Probabilities of the classes, float32 `[N, C]`.

        Args:
            rows: The inputs of N rows, `key` and `time`, when they happened in ms since 1970.
        """
        answers = self._answer(rows)
        if self.record is None:
            return np.exp(answers[0])
        return np.exp(self.record.mix(rows["time"], answers)).astype(np.float32)

    def _answer(self, rows: Arrays) -> list[np.ndarray]:
        """Log-probabilities by the model, and by the base where it reads that."""
        if self.base is not None and "base" not in rows:
            rows = rows | {"base": self.base(rows)}
        num_rows, size = len(rows["time"]), self.config.evaluate.batch_size
        found = [
            self._classify({name: array[start : start + size] for name, array in rows.items()})
            for start in range(0, num_rows, size)
        ]
        return [np.concatenate(found)] + ([rows["base"]] if self.base is not None else [])

    def _classify(self, rows: Arrays) -> np.ndarray:
        batch = to_tensors(rows, CPU)
        logits_BC = classify_greedy(self.model, self.history, batch, self.config.retrieval)
        return logits_BC.log_softmax(dim=1).numpy()

    @torch.no_grad()
    def _read_record(self, corpus: Corpus, reader: TableReader) -> Record:
        """Of the rows of the corpus that became known last, each predicted at its own time."""
        rows = recent_rows(corpus)
        found = reader.examples(rows)
        label = found.pop("label")
        return Record.of(corpus.read(TIME)[rows], label, self._answer(found))


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


def recent_rows(corpus: Corpus) -> np.ndarray:
    """Ids of the rows whose labels became known last: twice those that a record looks at, so that
    rows of a while ago have theirs too."""
    return np.arange(max(0, len(corpus) - 2 * NUM_RECENT), len(corpus))


def retrieves(weights: Mapping[str, Tensor]) -> bool:
    """Whether a model of these weights retrieves rows."""
    marks = ("queries.", "classify.slot_SW", "classify.metric.")
    return any(name.startswith(marks) for name in weights)
