"""Tasks whose examples a seeded program makes on the training device when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from raclib.batch import Batch, Split
from raclib.errors import UserError
from raclib.models.classifier import RetrievalClassifier
from raclib.models.mlp import MLPConfig, build_mlp_classifier
from raclib.run.config import RunSettings, TrainConfig

SPLITS = get_args(Split)


@dataclass
class StepTrainConfig(TrainConfig):
    """The optimiser, its schedule, the number of steps."""

    num_steps: PositiveInt = 4000
    """Steps, each on a fresh batch."""


@dataclass
class GeneratedTaskConfig(RunSettings):
    """A run on examples that are made as they are needed."""

    num_seeds: PositiveInt = 3
    """Runs of each kind, with seeds `seed`, `seed` + 1, ..."""
    history_size: PositiveInt = 128
    """Rows that an example may retrieve from, its own (K)."""
    validation_examples: PositiveInt = 2000
    """Examples predicted at each checkpoint."""
    test_examples: PositiveInt = 10_000
    """Examples predicted at the end."""
    model: MLPConfig = field(default_factory=MLPConfig)
    train: StepTrainConfig = field(default_factory=StepTrainConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history_size < self.retrieval.num_draws:
            raise UserError(
                f"history_size: {self.history_size} is below retrieval.num_draws "
                f"{self.retrieval.num_draws}; an example cannot draw more rows than it has"
            )


class GeneratedTask(ABC):
    """Examples with histories of their own; every batch is a function of the seed and its place.

    Batches hold `x` [B, D], `key` (the same, for similarity), `label` [B], `keys` [B, K, d] and the
    fields of `item_fields`, [B, K, ...]: what the classifier reads of a drawn row.
    """

    num_classes = 2
    item_fields: tuple[str, ...]
    item_dim: int

    def __init__(self, config: GeneratedTaskConfig, with_history: bool = True) -> None:
        self.config = config
        self.history_size = config.history_size if with_history else 0

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.train.num_steps

    @abstractmethod
    def make(self, split: Split, rows_B: Tensor, generator: torch.Generator) -> Batch:
        """Examples of these row ids, on the generator's device."""

    def stream(
        self, start_step: int, rank: int, num_workers: int, device: torch.device
    ) -> Iterator[Batch]:
        """This worker's part of the batch of every step; the next is made while one is in use."""
        size = self.config.train.batch_size
        local = size // num_workers
        mine = slice(rank * local, (rank + 1) * local)

        def load(step: int) -> Batch:
            rows = np.arange(step * size, (step + 1) * size)
            whole = self._load("train", rows, step, device)
            return {name: values[mine] for name, values in whole.items()}

        with ThreadPoolExecutor(1) as pool:
            ahead: list[Future[Batch]] = []
            for step in range(start_step, self.num_steps):
                ahead.append(pool.submit(load, step))
                if len(ahead) > 1:
                    yield ahead.pop(0).result()
            if ahead:
                yield ahead.pop().result()

    def examples(self, split: Split) -> np.ndarray:
        """Row ids of a split: they only number its examples."""
        sizes = {
            "train": self.config.train.batch_size * self.num_steps,
            "validation": self.config.validation_examples,
            "test": self.config.test_examples,
        }
        return np.arange(sizes[split])

    def load(self, split: Split, rows: np.ndarray, device: torch.device) -> Batch:
        """Examples of one of the parts in which a split is predicted."""
        return self._load(split, rows, int(rows[0]), device)

    def history(self, split: Split, device: torch.device) -> "OwnHistory":
        """The rows that a batch brings along."""
        return OwnHistory(self.item_fields)

    def diagnostics(
        self, model: RetrievalClassifier, temperature: float, device: torch.device
    ) -> dict[str, float]:
        """Nothing beyond what every run logs."""
        return {}

    @property
    def changes(self) -> None:
        """None: rules are the task's own."""
        return None

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        retrieval = self.config.retrieval if with_context else None
        return build_mlp_classifier(self.config.model, retrieval, *self.input_dims, self.item_dim)

    @property
    @abstractmethod
    def input_dims(self) -> tuple[int, int]:
        """Width of an input and of a key."""

    def _load(self, split: Split, rows: np.ndarray, number: int, device: torch.device) -> Batch:
        place = (self.config.seed, SPLITS.index(split), number)
        (seed,) = np.random.SeedSequence(place).generate_state(1, np.uint64)
        generator = torch.Generator(device).manual_seed(int(seed) & (2**63 - 1))
        return self.make(split, torch.from_numpy(rows).to(device), generator)


class OwnHistory:
    """Rows that each example of a batch brings along; all of them are eligible."""

    def __init__(self, item_fields: tuple[str, ...]) -> None:
        self.item_fields = item_fields

    def select(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Keys [B, K, d] and the interval 0..K of each example."""
        keys_BKd = batch["keys"]
        lo_B = torch.zeros(len(keys_BKd), dtype=torch.int64, device=keys_BKd.device)
        return keys_BKd, lo_B, torch.full_like(lo_B, keys_BKd.shape[1])

    def look(self, batch: Batch) -> Tensor:
        """None: all rows are drawn."""
        return torch.empty(len(batch["keys"]), 0, dtype=torch.int64, device=batch["keys"].device)

    def fetch(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """The drawn rows as `item` [M, B, S, F] float32: the item fields side by side."""
        example_B1 = torch.arange(rows_MBS.shape[1], device=rows_MBS.device)[:, None]
        at_MBS = rows_MBS.clamp_min(0)
        found = [batch[name][example_B1, at_MBS].float() for name in self.item_fields]
        return {"item": torch.cat(found, dim=-1)}
