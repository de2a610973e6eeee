"""The networks of the Amazon task: tokens of a review, a query generator, a classifier."""

import torch
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.models.fourier import FourierEmbedding
from raclib.models.perceiver import PerceiverStage
from raclib.retrieval.query import SimilarityResidual
from raclib.tasks.amazon.config import AmazonConfig, ModelConfig
from raclib.tasks.table.history import Statistics

INPUTS = ("embedding", "helpful_vote", "verified_purchase")
STANDARDIZED = ("embedding", "helpful_vote")


class Standardize(nn.Module):
    """Subtracts a fixed mean and divides by a fixed deviation; constant dimensions become 0."""

    mean_D: Tensor
    factor_D: Tensor

    def __init__(self, mean_D: Tensor, deviation_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_D", mean_D.float())
        # MiniLM has dimensions that never vary: dividing by their zero deviation would make NaN.
        constant_D = deviation_D < 1e-6
        self.register_buffer("factor_D", torch.where(constant_D, 0.0, 1 / deviation_D).float())

    def forward(self, values: Tensor) -> Tensor:
        """Standardised `values [..., D]`, float32."""
        return (values.float() - self.mean_D) * self.factor_D


class ReviewTokens(nn.Module):
    """Three tokens a review: its embedding, its helpful votes, whether the purchase was verified.

    Args:
        config: Width and Fourier bands.
        statistics: Mean and deviation of `STANDARDIZED` over training examples.
    """

    def __init__(self, config: ModelConfig, statistics: Statistics) -> None:
        super().__init__()
        self.standard_embedding = Standardize(*statistics["embedding"])
        self.standard_votes = Standardize(*statistics["helpful_vote"])
        self.fourier = FourierEmbedding(config.fourier_bands, config.fourier_max_frequency)
        self.embedding = nn.Linear(len(statistics["embedding"][0]), config.width)
        self.votes = nn.Linear(self.fourier.dim, config.width)
        self.verified = nn.Linear(1, config.width)

    def forward(self, review: Batch) -> Tensor:
        """Tokens `[..., 3, width]` of reviews of any leading shape."""
        votes = self.fourier(self.standard_votes(review["helpful_vote"].unsqueeze(-1)).squeeze(-1))
        verified = review["verified_purchase"].float().unsqueeze(-1)
        embedding = self.embedding(self.standard_embedding(review["embedding"]))
        return torch.stack([embedding, self.votes(votes), self.verified(verified)], dim=-2)


class QueryGenerator(nn.Module):
    """Queries of a review: a Perceiver stage, then one linear head a slot."""

    def __init__(self, config: AmazonConfig, tokens: ReviewTokens, key_dim: int) -> None:
        super().__init__()
        self.tokens, self.stage = tokens, _stage(config.model)
        self.shape = (config.retrieval.num_draws, key_dim)
        self.head = nn.Linear(config.model.width, config.retrieval.num_draws * key_dim)
        self.residual = (
            SimilarityResidual(config.retrieval.initial_alpha)
            if config.retrieval.residual_to_similarity
            else None
        )

    def forward(self, batch: Batch) -> Tensor:
        """Queries `[B, S, d]`, float32."""
        queries_BSd = self.head(self.stage(self.tokens(batch))).unflatten(1, self.shape)
        return self.residual(queries_BSd, batch["key"].float()) if self.residual else queries_BSd


class Classifier(nn.Module):
    """Reads the tokens of a review and, where there are any, of its retrieved rows.

    Args:
        config: Sizes; `retrieval.retrieve` says what of a retrieved row is read.
        tokens: Tokens of a review.
        num_classes: Classes, of examples and of retrieved rows.
        num_draws: Retrieved rows of an example; 0 for the classifier without context.
    """

    def __init__(
        self, config: AmazonConfig, tokens: ReviewTokens, num_classes: int, num_draws: int
    ) -> None:
        super().__init__()
        self.tokens, self.stage = tokens, _stage(config.model)
        self.head = nn.Linear(config.model.width, num_classes)
        self.reads_rows = config.retrieval.retrieve == "row"
        self.start_1W = nn.Parameter(torch.zeros(1, config.model.width))
        if num_draws:
            self.label = nn.Embedding(num_classes, config.model.width)
            self.slot_SW = nn.Parameter(torch.randn(num_draws, config.model.width) * 0.02)

    def forward(
        self,
        batch: Batch,
        retrieved: Batch | None = None,
        hide_input_B: Tensor | None = None,
        hide_items_BS: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, C]` of the classes."""
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
        return self.head(self.stage(torch.cat(tokens, dim=1), torch.cat(hidden, dim=1)))

    def _items(self, retrieved: Batch) -> Tensor:
        items_BSW = self.label(retrieved["label"]) + self.slot_SW
        return items_BSW + self.tokens(retrieved).sum(dim=-2) if self.reads_rows else items_BSW


def build_model(
    config: AmazonConfig,
    statistics: Statistics,
    key_dim: int,
    num_classes: int,
    with_context: bool,
) -> RetrievalClassifier:
    """A model with fresh weights.

    Args:
        config: Sizes and switches.
        statistics: As for `ReviewTokens`.
        key_dim: Dimensions of a key.
        num_classes: Classes, of examples and of retrieved rows.
        with_context: False for the classifier that retrieves nothing.
    """
    num_draws = config.retrieval.num_draws if with_context else 0
    classify = Classifier(config, ReviewTokens(config.model, statistics), num_classes, num_draws)
    queries = (
        QueryGenerator(config, ReviewTokens(config.model, statistics), key_dim)
        if with_context
        else None
    )
    return RetrievalClassifier(queries, classify)


def _stage(config: ModelConfig) -> PerceiverStage:
    return PerceiverStage(
        config.width, config.num_latents, config.num_self_attention, config.num_heads
    )
