"""What training asks of a task."""

from typing import Literal, Protocol

import numpy as np
import torch

from raclib.batch import Arrays
from raclib.config import EvaluateConfig, RetrievalConfig, TrainConfig
from raclib.models.classifier import RetrievalClassifier
from raclib.training.step import History

Split = Literal["train", "validation", "test"]


class TaskConfig(Protocol):
    """The part of a task's configuration that training reads."""

    seed: int
    train: TrainConfig
    retrieval: RetrievalConfig
    evaluate: EvaluateConfig


class Task(Protocol):
    """Examples to predict, histories to retrieve from, a model. Picklable."""

    config: TaskConfig

    def examples(self, split: Split) -> np.ndarray:
        """Row ids of the examples of a split, int64, sorted."""
        ...

    def read(self, rows: np.ndarray) -> Arrays:
        """Inputs and `label` of examples."""
        ...

    def history(self, split: Split, device: torch.device) -> History:
        """What the examples of a split may retrieve."""
        ...

    def diagnostics(self, model: RetrievalClassifier) -> dict[str, float]:
        """Numbers of this worker that are worth a curve."""
        ...

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights; without context it has no query generator."""
        ...
