"""A trained model as MLflow loads it: reviews in, probabilities out, with the corpus as memory.

MLflow runs this file when it loads a model (models from code), so nothing is pickled.
"""

import json
import tempfile
import warnings
from dataclasses import asdict
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

from raclib.batch import to_tensors
from raclib.corpus import open_corpus
from raclib.corpus.mounts import choose_mount
from raclib.corpus.server import ShardReader
from raclib.ingest.encoders import build_encoder
from raclib.ingest.keys import KeyTransform
from raclib.retrieval.keys import KeySet
from raclib.run.cli import parse
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import TEXTS
from raclib.tasks.amazon.labels import NUM_CLASSES, RatingRule
from raclib.tasks.amazon.models import INPUTS, build_model
from raclib.tasks.table.history import TableHistory
from raclib.tasks.table.reader import TableReader
from raclib.training.predict import classify_greedy

CPU = torch.device("cpu")
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
        self.config = parse(AmazonConfig, Path(context.artifacts["config"]), [])
        corpus = open_corpus(self.config.corpus_uri)
        self.encoder = build_encoder(self.config.encoder, "cpu")
        self.transform = KeyTransform.load(corpus.uri)
        weights = torch.load(context.artifacts["weights"], weights_only=True)
        with_context = any(name.startswith("queries.") for name in weights)
        statistics = {
            name: (torch.zeros(width), torch.ones(width))
            for name, width in (("embedding", self.encoder.dim), ("helpful_vote", 1))
        }
        sizes = self.transform.dim, NUM_CLASSES
        self.model = build_model(self.config, statistics, *sizes, with_context).eval()
        self.model.load_state_dict(weights)
        shards = ShardReader(choose_mount(corpus, "auto"))
        fetch = partial(shards.take, corpus)
        reader = TableReader(fetch, INPUTS, RatingRule(self.config.rule))
        window, with_inputs = self.config.split.window, self.config.retrieval.retrieve == "row"
        self.history = TableHistory(KeySet.load(corpus), reader, window, with_inputs)

    @torch.no_grad()
    def predict(  # type: ignore[override]  # MLflow leaves the context out where it is not named
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Probability that each review is positive under the rule of its day, float32 `[N]`.

        Args:
            model_input: Columns title, text, timestamp (ms since 1970), helpful_vote and
                verified_purchase. Rows of the corpus strictly earlier than a review are its memory.
            params: Not used.
        """
        time = model_input["timestamp"].to_numpy(np.int64)
        texts = {name: list(model_input[name]) for name in TEXTS}
        # As the corpus holds them, so that a stored review and a new one are treated alike.
        embedding = self.encoder.encode(texts).astype(np.float16)
        batch = to_tensors(
            {
                "embedding": embedding,
                "key": self.transform.transform({"embedding": embedding}, time).astype(np.float16),
                "helpful_vote": model_input["helpful_vote"].to_numpy(np.float32),
                "verified_purchase": model_input["verified_purchase"].to_numpy(np.int8),
                "time": time,
            },
            CPU,
        )
        history = self.history if self.model.queries else None
        logits_BC = classify_greedy(self.model, history, batch, self.config.retrieval)
        return logits_BC.softmax(dim=1)[:, 1].numpy()


def log_model(config: AmazonConfig, weights: dict[str, Tensor]) -> None:
    """Logs a trained model to the open MLflow run; `mlflow.pyfunc.load_model` loads it.

    Args:
        config: Configuration with absolute paths: the model finds the corpus through it.
        weights: State of the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {"config": f"{folder}/config.yaml", "weights": f"{folder}/weights.pt"}
        Path(paths["config"]).write_text(json.dumps(asdict(config)))
        torch.save(weights, paths["weights"])
        with warnings.catch_warnings():
            # MLflow advises type hints in place of a signature; its hints know no columns.
            warnings.simplefilter("ignore")
            mlflow.pyfunc.log_model(
                name="model",
                python_model=__file__,
                artifacts=paths,
                pip_requirements=["raclib"],
                signature=SIGNATURE,
            )


if __name__ != "raclib.serving.model":
    mlflow.models.set_model(ReviewModel())
