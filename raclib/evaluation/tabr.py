"""TabR, a classifier that retrieves rows, as others have written it."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from raclib.errors import UserError
from raclib.evaluation.choice import Choice
from raclib.models.base.features import Features, split_last
from raclib.models.base.refit import LabelledRows

SEED = 0
MAX_ROWS = 4000
MAX_EPOCHS = 30
PATIENCE = 4  # epochs without a lower log-loss
FREEZE_AFTER = 4  # epochs; from then on each row keeps its neighbours, which saves most of the time


def tabr(data: LabelledRows, choice: Choice, rows: np.ndarray) -> np.ndarray | None:
    """Answers of TabR (Gorishniy et al. 2023, arXiv 2307.14338), float64 `[M, C]`.

    Fitted once, on rows drawn from those known before the cutoff; it stops by the last tenth of
    them and retrieves from the others.

    Args:
        data: The rows of the corpus.
        choice: Its end is the cutoff.
        rows: Numbers of rows to answer, int64 `[M]`; it is not fitted on them.

    Returns:
        None where rows have an embedding.

    Raises:
        UserError: if pytabkit is not installed.
    """
    known = np.setdiff1d(np.flatnonzero(data.has_label(choice.end)), rows)
    mine = np.sort(np.random.default_rng(SEED).permutation(known)[:MAX_ROWS])
    features = data.read(mine)
    if features.embedding is not None:
        print("TabR: left out, an embedding has many columns")
        return None
    _, last = split_last(len(mine))
    codes = [_code(place) for place in range(len(features.sizes))]
    with TemporaryDirectory() as folder, _quiet():
        model = _classifier(folder)
        model.fit(_frame(features), data.label[mine], val_idxs=last, cat_col_names=codes)
        answers = model.predict_proba(_frame(data.read(rows)))
    found = np.zeros((len(rows), data.num_classes))
    found[:, model.classes_] = answers
    return found


def _classifier(folder: str) -> Any:
    try:
        import skorch  # noqa: F401  (pytabkit asks for it where it is fitted)
        from pytabkit import TabR_S_D_Classifier
    except ImportError:
        raise UserError(
            "evaluate.rivals: tabr needs pytabkit; pip install raclib[tabr], or leave it out"
        ) from None
    return TabR_S_D_Classifier(
        device="cpu",
        random_state=SEED,
        n_epochs=MAX_EPOCHS,
        patience=PATIENCE,
        freeze_contexts_after_n_epochs=FREEZE_AFTER,
        val_metric_name="cross_entropy",
        tmp_folder=folder,
    )


def _frame(features: Features) -> pd.DataFrame:
    """Numbers and codes by name."""
    numbers = {f"number {place}": column for place, column in enumerate(features.numbers.T)}
    codes = {_code(place): c for place, c in enumerate(features.codes(features.sizes).T)}
    return pd.DataFrame(numbers | codes)


def _code(place: int) -> str:
    return f"code {place}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the library says of each epoch."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
