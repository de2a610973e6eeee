"""Where a trained model lies: the folder of its run, or MLflow."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.exceptions import MlflowException
from torch import Tensor

from raclib.corpus.retry import said_if_slow
from raclib.errors import UserError
from raclib.evaluation.ours import RETRIEVAL
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute, sqlite_file, storage
from raclib.run.tracking import using
from raclib.training.claim import read_settings
from raclib.training.fitted import find_fitted

REMEDY = (
    "give the folder of a run, such as runs/table, or an MLflow model, such as runs:/<id>/model"
)
MLFLOW = ("runs:/", "models:/", "mlflow-artifacts:/")


@dataclass(frozen=True)
class Model:
    """A trained model with retrieval.

    Attributes:
        settings: What it was trained with: nested, or by dotted names.
        weights: Its state, on the CPU.
    """

    settings: Mapping[str, Any]
    weights: dict[str, Tensor]

    @property
    def is_of_reviews(self) -> bool:
        """Whether it was trained on reviews; else on a table."""
        return any(name.partition(".")[0] == "rule" for name in self.settings)


def find_model(place: str, option: str = "run") -> Model:
    """The model of a run's folder, `<storage_path>/<name>`, or of an MLflow URI.

    Args:
        place: A path, a fsspec URI, or `runs:/<id>/model`, `models:/<name>/<version>`.
        option: What it was given as, for errors.

    Raises:
        UserError: if there is none.
    """
    return _logged(place, option) if place.startswith(MLFLOW) else _of_run(place, option)


def _logged(uri: str, option: str) -> Model:
    try:
        with (
            nullcontext() if mlflow.is_tracking_uri_set() else using(_usual_store(option)),
            said_if_slow(f"{option}: {uri}: no answer yet; MLflow tries for some four minutes"),
        ):
            folder = Path(mlflow.artifacts.download_artifacts(uri), "artifacts")
        settings = json.loads((folder / "config.yaml").read_text())
    except (MlflowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{option}: {uri}: no such model: {reason}; {REMEDY}") from None
    path = folder / "weights.pt"
    return Model(settings, torch.load(path, map_location="cpu", weights_only=True))


def _usual_store(option: str) -> str:
    """Where jobs keep runs unless they are told otherwise."""
    uri = absolute(TrackingConfig().uri)
    file = sqlite_file(uri)
    if file and not file.exists():  # MLflow would make one
        raise UserError(f"{option}: no runs are kept in {file}; set MLFLOW_TRACKING_URI")
    return uri


def _of_run(place: str, option: str) -> Model:
    uri = storage(place)
    settings = read_settings(uri)
    if settings is None:
        raise UserError(f"{option}: {uri}: no run is here; {REMEDY}")
    fitted = find_fitted(f"{uri}/{RETRIEVAL}")
    if fitted is None:
        raise UserError(
            f"{option}: {uri}: has no trained model with retrieval; train it to its end first "
            "(the same command continues)"
        )
    return Model(settings, fitted.weights)
