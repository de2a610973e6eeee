"""Queries and classification by ReLU networks over a shared first layer."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.query import SimilarityResidual
from raclib.run.config import RetrievalConfig


@dataclass
class MLPConfig:
    """Networks of the generated tasks."""

    width: PositiveInt = 512
    """Width of the shared first layer and of all hidden layers."""
    num_hidden: PositiveInt = 1
    """Hidden layers of the query generator and of the classifier."""
    num_hidden_no_context: PositiveInt = 3
    """Hidden layers of the classifier that retrieves nothing, the first layer among them."""
    reader: Literal["concat", "products"] = "concat"
    """What the classifier reads of drawn rows: concat, all they hold, beside the input; products,
    only the product of each row's place with the example's, signed by the row's label, which means
    the same wherever the classes lie (rotating task only: a row must begin with its place and end
    with its label, -1 or 1)."""


class MLPQueries(nn.Module):
    """Queries of an input: the shared first layer, hidden layers, a linear head for all slots."""

    def __init__(self, config: MLPConfig, retrieval: RetrievalConfig, stem: nn.Module, dim: int):
        super().__init__()
        self.shape = (retrieval.num_draws, dim)
        hidden = [config.width] * (config.num_hidden + 1)
        self.stem, self.head = stem, mlp([*hidden, retrieval.num_draws * dim])
        alpha, has_residual = retrieval.initial_alpha, retrieval.residual_to_similarity
        self.residual = SimilarityResidual(alpha) if has_residual else None

    def forward(self, batch: Batch) -> Tensor:
        """Queries `[B, S, d]`."""
        queries_BSd = self.head(self.stem(batch["x"])).unflatten(1, self.shape)
        return self.residual(queries_BSd, batch["key"]) if self.residual else queries_BSd


class ConcatClassifier(nn.Module):
    """Reads the input and, where there are any, the contents of drawn rows, side by side."""

    def __init__(self, stem: nn.Module, widths: list[int]) -> None:
        super().__init__()
        self.stem, self.head = stem, mlp(widths)

    def forward(
        self,
        batch: Batch,
        retrieved: Batch | None = None,
        hide_input_B: Tensor | None = None,
        hide_items_BS: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, 2]`; what is hidden reads as zeros."""
        seen_BW = _hide(self.stem(batch["x"]), hide_input_B)
        if retrieved is None:
            return self.head(seen_BW)
        items_BSF = _hide(retrieved["item"], hide_items_BS)
        return self.head(torch.cat([seen_BW, items_BSF.flatten(1)], dim=1))


class ProductClassifier(nn.Module):
    """Reads only how each drawn row's place agrees with the example's, signed by its label."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.head = mlp(widths)

    def forward(
        self,
        batch: Batch,
        retrieved: Batch | None = None,
        hide_input_B: Tensor | None = None,
        hide_items_BS: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, 2]`; hidden rows count as 0. The input alone is never read."""
        assert retrieved is not None
        place_BD = batch["place"]
        inputs_BSD = retrieved["item"][..., : place_BD.shape[-1]]
        agreement_BS1 = inputs_BSD @ place_BD.unsqueeze(-1) * retrieved["item"][..., -1:]
        scaled_BS = _hide(agreement_BS1, hide_items_BS).squeeze(-1) / inputs_BSD.shape[-1] ** 0.5
        return self.head(scaled_BS)


def mlp(widths: list[int]) -> nn.Sequential:
    """Linear layers between these widths, ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def build_mlp_classifier(
    config: MLPConfig,
    retrieval: RetrievalConfig | None,
    input_dim: int,
    key_dim: int,
    item_dim: int,
) -> RetrievalClassifier:
    """A model with fresh weights.

    Args:
        config: Sizes.
        retrieval: Slots and tricks; None for the classifier without context.
        input_dim: Numbers of an input.
        key_dim: Numbers of a key.
        item_dim: Numbers of a drawn row.
    """
    stem = nn.Sequential(nn.Linear(input_dim, config.width), nn.ReLU())
    if retrieval is None:
        widths = [config.width] * config.num_hidden_no_context
        return RetrievalClassifier(None, ConcatClassifier(stem, [*widths, 2]))
    hidden, slots = [config.width] * config.num_hidden, retrieval.num_draws
    classify = (
        ConcatClassifier(stem, [config.width + slots * item_dim, *hidden, 2])
        if config.reader == "concat"
        else ProductClassifier([slots, *hidden, 2])
    )
    return RetrievalClassifier(MLPQueries(config, retrieval, stem, key_dim), classify)


def _hide(values: Tensor, hidden: Tensor | None) -> Tensor:
    """Zeros where hidden; `hidden` lacks the last axis of `values`."""
    return values if hidden is None else values.masked_fill(hidden.unsqueeze(-1), 0.0)
