"""Rows of a table as tokens: one for its numbers, one for its categories, one for its embedding."""

from dataclasses import dataclass

import torch
from rtdl_num_embeddings import PeriodicEmbeddings
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.standardize import Standardize

PERIODIC_DIM = 8


@dataclass(frozen=True)
class TableShape:
    """What a row of a table holds.

    Attributes:
        num_numbers: Width of `numbers`, 0 if there is none.
        num_codes: Codes of each categorical column, that of missing and new values among them.
        embedding: Mean and deviation of the dimensions of `embedding`; None if there is none.
    """

    num_numbers: int
    num_codes: tuple[int, ...]
    embedding: tuple[Tensor, Tensor] | None


class TableTokens(nn.Module):
    """At most three tokens a row, of the fields that the table has; one that is empty without any.

    Numbers pass through periodic embeddings (Gorishniy et al. 2022, arXiv 2203.05556); a missing or
    new category has an embedding of its own in each column.

    Args:
        shape: The fields.
        width: Width of a token.
    """

    first_c: Tensor

    def __init__(self, shape: TableShape, width: int) -> None:
        super().__init__()
        self.numbers = self.categories = self.embedding = self.empty = None
        if shape.num_numbers:
            self.numbers = nn.Sequential(
                PeriodicEmbeddings(shape.num_numbers, PERIODIC_DIM, lite=False),
                nn.Flatten(),
                nn.Linear(shape.num_numbers * PERIODIC_DIM, width),
            )
        if shape.num_codes:
            bounds = torch.tensor([0, *shape.num_codes]).cumsum(0)
            self.register_buffer("first_c", bounds[:-1])
            self.categories = nn.Embedding(int(bounds[-1]), width)
        if shape.embedding is not None:
            dim = len(shape.embedding[0])
            self.embedding = nn.Sequential(Standardize(*shape.embedding), nn.Linear(dim, width))
        if not (shape.num_numbers or shape.num_codes or shape.embedding):
            self.empty = nn.Parameter(torch.zeros(width))  # ids alone: keys know them, tokens not

    def forward(self, rows: Batch) -> Tensor:
        """Tokens `[..., T, width]` of rows of any leading shape."""
        tokens = []
        if self.numbers is not None:
            numbers = rows["numbers"].float()
            tokens.append(self.numbers(numbers.flatten(0, -2)).unflatten(0, numbers.shape[:-1]))
        if self.categories is not None:
            tokens.append(self.categories(rows["categories"] + self.first_c).sum(dim=-2))
        if self.embedding is not None:
            tokens.append(self.embedding(rows["embedding"]))
        if self.empty is not None:
            tokens.append(self.empty.expand(*rows["entities"].shape[:-1], -1))
        return torch.stack(tokens, dim=-2)
