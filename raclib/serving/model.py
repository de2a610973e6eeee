"""A trained model as MLflow loads it: reviews in, probabilities out, with the corpus as memory.

MLflow runs this file when it loads a model (models from code), so nothing is pickled.
"""

from dataclasses import replace
from functools import partial
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

from raclib.arrays import Arrays
from raclib.corpus import open_corpus
from raclib.corpus.reader import take_from
from raclib.ingest.base_scores import BASE, load_base, load_folds
from raclib.ingest.config import date_to_ms
from raclib.ingest.encoders import build_encoder
from raclib.ingest.keys import KEY_FIT, KeyTransform
from raclib.models.base import FittedBase
from raclib.run.cli import parse
from raclib.serving.log import log_pyfunc
from raclib.serving.predictor import Predictor, recent_rows, retrieves
from raclib.tasks.amazon.base import ReviewFeatures, review_features
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import TEXTS
from raclib.tasks.amazon.labels import NUM_CLASSES, RatingRule
from raclib.tasks.amazon.models import INPUTS, build_model
from raclib.tasks.amazon.reviews import check_times
from raclib.tasks.table.reader import BaseAnswers, TableReader

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
    """Predicts reviews of the Reviews '23 schema from the newest version of the corpus.

    Rows appended to the corpus are retrieved as soon as the model is loaded again: no training.
    """

    def load_context(self, context: Any) -> None:
        """Reads configuration, weights and keys."""
        config = parse(AmazonConfig, Path(context.artifacts["config"]), [])
        corpus = open_corpus(config.corpus_uri)
        self.encoder = build_encoder(config.encoder, "cpu")
        self.transform, self.key_base = KeyTransform.of(corpus), None
        if self.transform.base_dim:
            self.key_base = load_base(corpus, corpus.provenance[KEY_FIT][BASE])
        weights = torch.load(context.artifacts["weights"], weights_only=True)
        statistics = {
            name: (torch.zeros(width), torch.ones(width))
            for name, width in (("embedding", self.encoder.dim), ("helpful_vote", 1))
        }
        sizes = self.transform.dim, NUM_CLASSES
        model = build_model(config, statistics, *sizes, retrieves(weights))
        reader, base = TableReader(take_from(corpus), INPUTS, RatingRule(config.rule)), None
        if config.reader == "copy":
            folds, recent = load_folds(corpus), recent_rows(corpus)
            answers = folds.log_probs(ReviewFeatures(corpus), recent)
            reader = replace(reader, base=BaseAnswers(recent, answers))
            base = partial(_score, folds.base)
        what = reader, config, date_to_ms(config.rule.cutoff), base
        self.predictor = Predictor(model, weights, corpus, *what)

    def predict(  # type: ignore[override]  # MLflow leaves the context out where it is not named
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Probability that each review is positive under the rule of its day, float32 `[N]`.

        Args:
            model_input: Columns title, text, timestamp (ms since 1970), helpful_vote and
                verified_purchase. Rows of the corpus strictly earlier than a review are its memory.
            params: Not used.

        Raises:
            UserError: if a timestamp is in another unit.
        """
        time = model_input["timestamp"].to_numpy(np.int64)
        check_times(time)
        texts = {name: list(model_input[name]) for name in TEXTS}
        # As the corpus holds them, so that a stored review and a new one are treated alike.
        embedding = self.encoder.encode(texts).astype(np.float16)
        rows = {
            "embedding": embedding,
            "helpful_vote": model_input["helpful_vote"].to_numpy(np.float32),
            "verified_purchase": model_input["verified_purchase"].to_numpy(np.int8),
        }
        key = self.transform.transform(self._key_inputs(rows), time).astype(np.float16)
        return self.predictor({**rows, "key": key, "time": time})[:, 1]

    def _key_inputs(self, rows: Arrays) -> Arrays:
        if self.key_base is None:
            return rows
        return {**rows, BASE: self.key_base.compress(_score(self.key_base, rows))}


def _score(base: FittedBase, rows: Arrays) -> np.ndarray:
    return base.log_probs(review_features(rows))


def log_model(config: AmazonConfig, weights: dict[str, Tensor]) -> None:
    """Logs a trained model to the open MLflow run; `mlflow.pyfunc.load_model` loads it.

    Args:
        config: Configuration with absolute paths: the model finds the corpus through it.
        weights: State of the model.
    """
    log_pyfunc(__file__, config, weights, SIGNATURE)


if __name__ != "raclib.serving.model":
    mlflow.models.set_model(ReviewModel())
