"""Classifiers of other libraries that learn as labels come."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from raclib.errors import UserError
from raclib.evaluation.choice import Choice
from raclib.models.base.features import pieces
from raclib.models.base.refit import LabelledRows

SEED = 0
NUM_TREES = 10
MAX_NUMBERS = 10_000_000  # rows times inputs: some ten minutes
# Share of an answer that is the same for all classes: trees are sure of what they saw a few times.
SMOOTHING = (1e-3, 1e-2, 1e-1)


def adaptive_forest(data: LabelledRows, choice: Choice, rows: np.ndarray) -> np.ndarray | None:
    """Answers of an adaptive random forest (Gomes et al. 2017), float64 `[M, C]`.

    Each row is answered by trees that have learned all labels known strictly before it happened,
    in their order, and no other.

    Args:
        data: The rows of the corpus.
        choice: Rows on which the smoothing is chosen.
        rows: Numbers of rows to answer, int64 `[M]`.

    Returns:
        None where there are too many rows of too many inputs.

    Raises:
        UserError: if River is not installed.
    """
    forest = _forest(data)
    if forest is None:
        return None
    wanted = np.union1d(choice.rows, rows)
    found = _answer(forest, data, wanted)

    def smooth(rows: np.ndarray, share: float) -> np.ndarray:
        return (1 - share) * found[np.searchsorted(wanted, rows)] + share / data.num_classes

    best = choice.best(data, {share: smooth(choice.rows, share) for share in SMOOTHING})
    return smooth(rows, best)


def _forest(data: LabelledRows) -> Any:
    try:
        from river.forest import ARFClassifier
    except ImportError:
        raise UserError(
            "evaluate.rivals: adaptive_forest needs River; pip install raclib[river], or leave it "
            "out"
        ) from None
    sample = data.read(np.arange(1))
    num_dense, num_codes = sample.dense().shape[1], len(sample.sizes)
    if len(data.label) * (num_dense + num_codes) > MAX_NUMBERS:
        print(f"adaptive forest: left out, {len(data.label):,} rows of {num_dense} inputs are many")
        return None
    nominal = list(range(num_dense, num_dense + num_codes))
    return ARFClassifier(n_models=NUM_TREES, nominal_attributes=nominal, seed=SEED)


def _answer(forest: Any, data: LabelledRows, wanted: np.ndarray) -> np.ndarray:
    """Answers for rows by ascending number, in the order of the rows."""
    order = np.argsort(data.event[wanted], kind="stable")
    # A label becomes known after all labels before it: river learns one row at a time.
    known = np.flatnonzero(data.label >= 0)
    num_known = np.searchsorted(data.known[known], data.event[wanted[order]])
    learned, at = _inputs(data, known), 0
    found = np.zeros((len(wanted), data.num_classes))
    questions = zip(order.tolist(), num_known.tolist(), _inputs(data, wanted[order]), strict=True)
    for place, stop, inputs in tqdm(questions, "adaptive forest", len(wanted), unit=" rows"):
        for row in known[at:stop].tolist():
            forest.learn_one(next(learned), int(data.label[row]))
        at = max(at, stop)
        for number, probability in forest.predict_proba_one(inputs).items():
            found[place, number] = probability
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1), 1 / data.num_classes)


def _inputs(data: LabelledRows, rows: np.ndarray) -> Iterator[dict[int, float]]:
    """Numbers, embedding and codes of one row after the other, by place."""
    for piece in pieces(rows):
        features = data.read(rows[piece])
        codes = features.codes(features.sizes).astype(np.float32)
        for row in np.concatenate([features.dense(), codes], axis=1).tolist():
            yield dict(enumerate(row))
