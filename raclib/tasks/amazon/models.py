"""The tokens of a review, for the paper's networks."""

from functools import partial

import torch
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.models.fourier import FourierEmbedding
from raclib.models.perceiver_reader import build_perceivers
from raclib.models.standardize import Standardize
from raclib.tasks.amazon.config import AmazonConfig, ModelConfig
from raclib.tasks.amazon.labels import INPUTS as INPUTS  # kept where tasks need no PyTorch
from raclib.tasks.table.context import read_by
from raclib.tasks.table.history import Statistics

STANDARDIZED = ("embedding", "helpful_vote")


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
    model = build_perceivers(
        config.model,
        config.retrieval,
        partial(ReviewTokens, config.model, statistics),
        key_dim,
        num_classes,
        config.retrieval.retrieve == "row",
        with_context,
    )
    return read_by(config, model, num_classes, key_dim) if with_context else model
