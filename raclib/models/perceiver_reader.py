"""The paper's networks over tokens of any rows: a query generator and a classifier."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import Reading, RetrievalClassifier
from raclib.models.config import PerceiverConfig
from raclib.models.perceiver import PerceiverStage
from raclib.retrieval.query import SimilarityResidual
from raclib.run.config import RetrievalConfig


class QueryGenerator(nn.Module):
    """Queries of an input: a Perceiver stage, then one linear head a slot."""

    def __init__(
        self, config: PerceiverConfig, retrieval: RetrievalConfig, tokens: nn.Module, key_dim: int
    ) -> None:
        super().__init__()
        self.tokens, self.stage = tokens, _stage(config)
        self.shape = (retrieval.num_draws, key_dim)
        self.head = nn.Linear(config.width, retrieval.num_draws * key_dim)
        self.residual = (
            SimilarityResidual(retrieval.initial_alpha)
            if retrieval.residual_to_similarity
            else None
        )

    def forward(self, batch: Batch) -> Tensor:
        """Queries `[B, S, d]`, float32."""
        queries_BSd = self.head(self.stage(self.tokens(batch))).unflatten(1, self.shape)
        return self.residual(queries_BSd, batch["key"].float()) if self.residual else queries_BSd


class Classifier(nn.Module):
    """Reads the tokens of an input and, where there are any, of its retrieved rows.

    Args:
        config: Sizes.
        tokens: Makes tokens `[..., T, width]` of inputs.
        num_classes: Classes, of examples and of retrieved rows.
        num_rows: Retrieved rows of an example; 0 for the classifier without context.
        reads_rows: Whether the inputs of a retrieved row are read beside its label.
    """

    def __init__(
        self,
        config: PerceiverConfig,
        tokens: nn.Module,
        num_classes: int,
        num_rows: int,
        reads_rows: bool,
    ) -> None:
        super().__init__()
        self.tokens, self.stage = tokens, _stage(config)
        self.head = nn.Linear(config.width, num_classes)
        self.reads_rows = reads_rows
        self.start_1W = nn.Parameter(torch.zeros(1, config.width))
        if num_rows:
            self.label = nn.Embedding(num_classes, config.width)
            self.slot_SW = nn.Parameter(torch.randn(num_rows, config.width) * 0.02)

    def forward(
        self,
        batch: Batch,
        retrieved: Batch | None = None,
        hide_input_B: Tensor | None = None,
        hide_items_BS: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, C]` of the classes."""
        seen = self._see(batch, retrieved, hide_input_B, hide_items_BS)
        return self.head(self.stage(*seen))

    def read(
        self,
        batch: Batch,
        retrieved: Batch,
        hide_input_B: Tensor | None,
        hide_items_BS: Tensor,
    ) -> Reading:
        """The same, and the share of its attention that each row got."""
        seen = self._see(batch, retrieved, hide_input_B, hide_items_BS)
        read_BW, share_BN = self.stage.read(*seen, need_weights=True)
        assert share_BN is not None, "it was asked for"
        return Reading(self.head(read_BW), share_BN[:, -hide_items_BS.shape[1] :])

    def _see(
        self,
        batch: Batch,
        retrieved: Batch | None,
        hide_input_B: Tensor | None,
        hide_items_BS: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens, those of rows last, and which are hidden."""
        inputs_BNW = self.tokens(batch)
        # A start token that is never hidden: attention over nothing would be NaN.
        tokens = [self.start_1W.expand(len(inputs_BNW), 1, -1), inputs_BNW]
        seen_B = torch.zeros(len(inputs_BNW), dtype=torch.bool, device=inputs_BNW.device)
        hide_input_B = seen_B if hide_input_B is None else hide_input_B
        hidden = [seen_B.unsqueeze(1), hide_input_B.unsqueeze(1).expand(-1, inputs_BNW.shape[1])]
        if retrieved is not None:
            tokens.append(self._items(retrieved))
            assert hide_items_BS is not None
            hidden.append(hide_items_BS)
        return torch.cat(tokens, dim=1), torch.cat(hidden, dim=1)

    def _items(self, retrieved: Batch) -> Tensor:
        items_BSW = self.label(retrieved["label"]) + self.slot_SW
        return items_BSW + self.tokens(retrieved).sum(dim=-2) if self.reads_rows else items_BSW


def build_perceivers(
    config: PerceiverConfig,
    retrieval: RetrievalConfig,
    make_tokens: Callable[[], nn.Module],
    key_dim: int,
    num_classes: int,
    reads_rows: bool,
    with_context: bool,
) -> RetrievalClassifier:
    """A model with fresh weights.

    Args:
        config: Sizes.
        retrieval: Slots and switches.
        make_tokens: Makes a module of tokens, with fresh weights.
        key_dim: Dimensions of a key.
        num_classes: Classes, of examples and of retrieved rows.
        reads_rows: Whether the inputs of retrieved rows are read beside their labels.
        with_context: False for the classifier that retrieves nothing.
    """
    num_rows = retrieval.num_draws + retrieval.num_looked if with_context else 0
    classify = Classifier(config, make_tokens(), num_classes, num_rows, reads_rows)
    has_queries = with_context and retrieval.num_draws > 0
    queries = QueryGenerator(config, retrieval, make_tokens(), key_dim) if has_queries else None
    return RetrievalClassifier(queries, classify)


def _stage(config: PerceiverConfig) -> PerceiverStage:
    return PerceiverStage(
        config.width, config.num_latents, config.num_self_attention, config.num_heads
    )
