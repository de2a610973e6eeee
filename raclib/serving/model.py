"""A trained model as MLflow loads it: reviews in, probabilities out, with the corpus as memory.

MLflow runs this file when it loads a model (models from code), so nothing is pickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema, TensorSpec
from torch import Tensor

from raclib.run.cli import parse
from raclib.serving.arrow import to_arrow
from raclib.serving.log import log_pyfunc
from raclib.serving.review_predictor import ReviewPredictor
from raclib.tasks.amazon.config import AmazonConfig

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec("string", "title"),
            ColSpec("string", "text"),
            ColSpec("long", "timestamp"),
            ColSpec("long", "helpful_vote"),
            ColSpec("boolean", "verified_purchase"),
        ]
    ),
    outputs=Schema([TensorSpec(np.dtype("float32"), (-1,))]),
)


class ReviewModel(PythonModel):
    """Predicts reviews of the Reviews '23 schema from the newest version of the corpus."""

    def load_context(self, context: Any) -> None:
        """Reads configuration, weights and keys."""
        config = parse(AmazonConfig, Path(context.artifacts["config"]), [])
        weights = torch.load(context.artifacts["weights"], weights_only=True)
        self.predictor = ReviewPredictor(config, weights)

    def predict(  # type: ignore[override]  # MLflow leaves the context out where it is not named
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Probability that each review is positive under the rule of its day, float32 `[N]`.

        Args:
            model_input: Columns title, text, timestamp (ms since 1970), helpful_vote and
                verified_purchase. Rows of the corpus strictly earlier than a review are its memory.
            params: Not used.

        Raises:
            UserError: if a column is missing, a value does not fit, or a timestamp is in another
                unit.
        """
        return self.predictor(to_arrow(model_input))[:, 1]


def log_model(config: AmazonConfig, weights: dict[str, Tensor]) -> None:
    """Logs a trained model to the open MLflow run; `mlflow.pyfunc.load_model` loads it.

    Args:
        config: Configuration with absolute paths: the model finds the corpus through it.
        weights: State of the model.
    """
    log_pyfunc(__file__, config, weights, SIGNATURE)


if __name__ != "raclib.serving.model":
    mlflow.models.set_model(ReviewModel())
