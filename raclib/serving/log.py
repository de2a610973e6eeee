"""Trained models in MLflow, as code and weights: nothing is pickled."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import mlflow
import torch
from mlflow.models import ModelSignature
from torch import Tensor

from raclib.corpus.urls import without_secrets
from raclib.run.store import telling
from raclib.tasks.table.config import TableSettings


def log_pyfunc(
    code: str, config: TableSettings, weights: Mapping[str, Tensor], signature: ModelSignature
) -> None:
    """Logs a model to the open MLflow run; `mlflow.pyfunc.load_model` loads it.

    Args:
        code: Python file that MLflow runs when it loads the model (models from code); it finds
            `config` (JSON) and `weights` (of `torch.save`) among its artifacts.
        config: Configuration with absolute paths: the model finds the corpus through it.
        weights: State of the model.
        signature: What goes in and comes out.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {"config": Path(folder, "config.yaml"), "weights": Path(folder, "weights.pt")}
        files["config"].write_text(json.dumps(without_secrets(asdict(config))))
        torch.save(dict(weights), files["weights"])
        with warnings.catch_warnings(), telling(mlflow.get_tracking_uri()):
            # MLflow advises type hints in place of a signature; its hints know no columns.
            warnings.simplefilter("ignore")
            mlflow.pyfunc.log_model(
                name="model",
                python_model=code,
                artifacts={name: file.as_uri() for name, file in files.items()},
                pip_requirements=["raclib"],
                signature=signature,
            )
