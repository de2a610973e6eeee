"""What a training came to, kept so that a continued job neither trains nor predicts again."""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raclib.corpus import files
from raclib.corpus.faults import DamagedError
from raclib.training.predict import Predictions
from raclib.training.state_file import load_state, save_state


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
        """Keeps it in the folder or URI of its run.

        Raises:
            UserError: if it cannot be written.
        """
        test = {name: torch.tensor(values) for name, values in self.test._asdict().items()}
        save_state(_file(run_uri), {"test": test, "weights": self.weights})


def find_fitted(run_uri: str) -> Fitted | None:
    """What the run of that folder or URI came to, if it has ended and the file of it is whole."""
    if not files.exists(_file(run_uri)):
        return None
    try:
        state = load_state(_file(run_uri))
    except DamagedError as error:
        print(f"{error}; it is made again from the last checkpoint", file=sys.stderr)
        return None
    test = {name: values.numpy() for name, values in state["test"].items()}
    if test["probability"].ndim == 1:  # of label 1, as runs of two classes were kept once
        test["probability"] = np.stack([1 - test["probability"], test["probability"]], axis=1)
    return Fitted(Predictions(**test), state["weights"])


def _file(run_uri: str) -> str:
    return f"{run_uri}/fitted.pt"
