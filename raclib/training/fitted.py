"""What a training came to, kept so that a continued job neither trains nor predicts again."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raclib.corpus import files
from raclib.corpus.atomic import write_atomic
from raclib.training.predict import Predictions


@dataclass(frozen=True)
class Fitted:
    """A trained model and what it predicts.

    Attributes:
        test: What it says of the test examples.
        weights: State of the model, on the CPU.
    """

    test: Predictions
    weights: dict[str, Tensor]

    def save(self, run_uri: str) -> None:
        """Keeps it in the folder or URI of its run."""
        test = {name: torch.tensor(values) for name, values in self.test._asdict().items()}
        with write_atomic(_file(run_uri)) as file:
            torch.save({"test": test, "weights": self.weights}, file)


def find_fitted(run_uri: str) -> Fitted | None:
    """What the run of that folder or URI came to, if it has ended."""
    filesystem, path = files.resolve(_file(run_uri))
    if not filesystem.exists(path):
        return None
    file = io.BytesIO(files.read_bytes(_file(run_uri)))
    state = torch.load(file, map_location="cpu", weights_only=True)
    test = {name: values.numpy() for name, values in state["test"].items()}
    if test["probability"].ndim == 1:  # of label 1, as runs of two classes were kept once
        test["probability"] = np.stack([1 - test["probability"], test["probability"]], axis=1)
    return Fitted(Predictions(**test), state["weights"])


def _file(run_uri: str) -> str:
    return f"{run_uri}/fitted.pt"
