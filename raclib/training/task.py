"""What training asks of a task."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from raclib.batch import Batch, Split
from raclib.models.classifier import RetrievalClassifier
from raclib.run.config import RunSettings
from raclib.training.rule_changes import RuleChanges
from raclib.training.step import History


class Task(Protocol):
    """Examples to predict, histories to retrieve from, a model. Picklable."""

    @property
    def config(self) -> RunSettings:
        """What training is told."""
        ...

    @property
    def num_classes(self) -> int:
        """Classes that are told apart: labels are 0 to `num_classes` - 1."""
        ...

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        ...

    def stream(
        self, start_step: int, rank: int, num_workers: int, device: torch.device
    ) -> Iterator[Batch]:
        """This worker's part of the global batch of every step from `start_step` on.

        Inputs and `label`, made or read while the step before is under way. Together the parts are
        the same whatever the number of workers.
        """
        ...

    def examples(self, split: Split) -> np.ndarray:
        """Row ids of the examples of a split, int64, once each."""
        ...

    def load(self, split: Split, rows: np.ndarray, device: torch.device) -> Batch:
        """Inputs and `label` of examples: of one of the parts that `parts` gives."""
        ...

    def history(self, split: Split, device: torch.device) -> History:
        """What the examples of a split may retrieve."""
        ...

    def diagnostics(
        self, model: RetrievalClassifier, temperature: float, device: torch.device
    ) -> dict[str, float]:
        """Numbers of this worker that are worth a curve."""
        ...

    @property
    def changes(self) -> RuleChanges | None:
        """Simulated rule changes of training; None where it learns from the data as they are."""
        ...

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights; without context it has no query generator."""
        ...


def parts(task: Task, split: Split) -> list[np.ndarray]:
    """The examples of a split, as many at a time as are predicted at once."""
    rows, size = task.examples(split), task.config.evaluate.batch_size
    return np.split(rows, range(size, len(rows), size))
