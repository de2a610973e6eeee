"""What a base classifier can be told."""

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import PositiveInt

from raclib.errors import UserError

Kind = Literal["auto", "linear", "mlp", "lightgbm", "column", "perceiver"]


@dataclass
class BaseConfig:
    """A classifier of the input alone, which sees no retrieved row."""

    kind: Kind = "linear"
    """linear: logistic regression; mlp: a network over embeddings of numbers and categories;
    lightgbm: boosted trees (`pip install raclib[boosted]`); auto: linear, or lightgbm if it is
    installed, rows have no embedding, and it does better on the last fifth of the labels known
    before the cutoff; column: probabilities in the table, as they are; perceiver: the paper's
    classifier, trained with the model."""
    unseen: Literal["folds", "earlier"] = "folds"
    """By which classifier that did not see them rows known before the cutoff are scored. folds: one
    fitted on the other folds; earlier: those of the later half by one fitted on the earlier half,
    so that its answers are as stale as they will be, and retrieval is learned on that half only."""
    num_folds: PositiveInt = 5
    """Rows whose label was known before the cutoff are scored by a classifier fitted on the other
    folds; at least 2."""
    max_rows: PositiveInt = 200_000
    """Most rows of a fit; drawn at random where more are known. They are held in memory."""
    width: PositiveInt = 128
    """Width of the two hidden layers (mlp)."""
    max_epochs: PositiveInt = 20
    """Most passes over the rows; fewer where the last tenth of them stops gaining (mlp)."""
    max_rounds: PositiveInt = 300
    """Most trees a class; fewer where the last tenth of the rows stops gaining (lightgbm)."""

    def __post_init__(self) -> None:
        if self.num_folds < 2:
            raise UserError(
                f"base.num_folds: {self.num_folds}; a row must be scored by a classifier that did "
                "not see it: give at least 2"
            )
