"""A small network over embeddings of numbers and categories."""

import json
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import torch
from rtdl_num_embeddings import PeriodicEmbeddings
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features, moments, pieces, split_last

BATCH_ROWS = 1024
MIN_STEPS = 20
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
DROPOUT = 0.1
PATIENCE = 3
NUMBER_DIM = 16
NUM_FREQUENCIES = 16
MAX_CATEGORY_DIM = 32

Inputs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _Shape:
    """Everything a network's weights depend on."""

    num_numbers: int
    sizes: tuple[int, ...]
    embedding_dim: int
    width: int
    num_classes: int


class _Network(nn.Module):
    """Periodic embeddings of numbers (Gorishniy, Rubachev and Babenko 2022), then two layers."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mean_E: Tensor
        self.scale_E: Tensor
        self.numbers = (
            PeriodicEmbeddings(
                shape.num_numbers, NUMBER_DIM, n_frequencies=NUM_FREQUENCIES, lite=True
            )
            if shape.num_numbers
            else None
        )
        dims = [min(MAX_CATEGORY_DIM, 2 + size // 2) for size in shape.sizes]
        pairs = zip(shape.sizes, dims, strict=True)
        self.categories = nn.ModuleList(nn.Embedding(*pair) for pair in pairs)
        for table in self.categories:
            # A code that the fit never sees stays zero, which says nothing.
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]
        self.register_buffer("mean_E", torch.zeros(shape.embedding_dim))
        self.register_buffer("scale_E", torch.ones(shape.embedding_dim))
        inputs = shape.num_numbers * NUMBER_DIM + sum(dims) + shape.embedding_dim
        self.layers = nn.Sequential(
            nn.Linear(inputs, shape.width),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(shape.width, shape.width),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(shape.width, shape.num_classes),
        )

    def forward(self, numbers_Bn: Tensor, codes_Bc: Tensor, embedding_BE: Tensor) -> Tensor:
        """Logits `[B, C]`."""
        parts = [table(codes_B) for table, codes_B in zip(self.categories, codes_Bc.T, strict=True)]
        if self.numbers is not None:
            parts.append(self.numbers(numbers_Bn).flatten(1))
        parts.append((embedding_BE - self.mean_E) / self.scale_E)
        return self.layers(torch.cat(parts, dim=1))

    def read(self, features: Features) -> Inputs:
        """The arrays of rows as the tensors of `forward`."""
        embedding = features.embedding
        if embedding is None:
            embedding = np.empty((len(features), 0), np.float32)
        codes_Nc = features.codes(self.shape.sizes)
        return (
            torch.tensor(features.numbers),
            torch.tensor(codes_Nc),
            torch.tensor(embedding).float(),
        )


class MLPBase:
    """A fitted network.

    Args:
        network: In evaluation mode.
    """

    def __init__(self, network: _Network) -> None:
        self.network = network.eval()

    @classmethod
    def fit(
        cls, config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
    ) -> Self:
        """See `BaseClassifier.fit`."""
        width = features.numbers.shape[1]
        shape = _Shape(width, features.sizes, features.embedding_dim, config.width, num_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(shape)
            if features.embedding is not None:
                mean_E, scale_E = moments(features.embedding)
                network.mean_E, network.scale_E = (
                    torch.from_numpy(mean_E),
                    torch.from_numpy(scale_E),
                )
            _train(network, config, features, torch.from_numpy(label))
        return cls(network)

    def log_probs(self, features: Features) -> np.ndarray:
        """See `BaseClassifier.log_probs`."""
        with torch.inference_mode():
            return self.network(*self.network.read(features)).log_softmax(dim=1).numpy()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """See `BaseClassifier.to_arrays`."""
        weights = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return {"shape": np.array(json.dumps(asdict(self.network.shape))), **weights}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """See `BaseClassifier.from_arrays`."""
        weights = {
            name: torch.from_numpy(value) for name, value in arrays.items() if name != "shape"
        }
        shape = json.loads(str(arrays["shape"]))
        network = _Network(_Shape(**{**shape, "sizes": tuple(shape["sizes"])}))
        network.load_state_dict(weights)
        return cls(network)


def _train(network: _Network, config: BaseConfig, features: Features, label_N: Tensor) -> None:
    """Leaves the network with the weights that were best on the last tenth of the rows."""
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    early, late = split_last(len(features))
    best_loss, best_epoch, best = float("inf"), 0, network.state_dict()
    for epoch in range(config.max_epochs):
        _train_epoch(network, optimizer, features, label_N, early)
        loss = _mean_loss(network, features, label_N, late)
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best)


def _train_epoch(
    network: _Network,
    optimizer: torch.optim.Optimizer,
    features: Features,
    label_N: Tensor,
    early: np.ndarray,
) -> None:
    network.train()
    # Few rows make small batches, so that an epoch is more than one step.
    size = max(1, min(BATCH_ROWS, len(early) // MIN_STEPS))
    for rows in torch.from_numpy(early)[torch.randperm(len(early))].split(size):
        logits_BC = network(*network.read(features.take(rows.numpy())))
        optimizer.zero_grad()
        cross_entropy(logits_BC, label_N[rows]).backward()
        optimizer.step()


@torch.inference_mode()
def _mean_loss(network: _Network, features: Features, label_N: Tensor, late: np.ndarray) -> float:
    network.eval()
    total = 0.0
    for piece in pieces(late):
        rows = late[piece]
        logits_BC = network(*network.read(features.take(rows)))
        total += cross_entropy(logits_BC, label_N[rows], reduction="sum").item()
    return total / len(late)
