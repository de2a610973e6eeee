"""What full rows add to a copy reader's answer, read as TabR does."""

import torch
from torch import Tensor, nn

from raclib.batch import Batch

HIDDEN = 32
DROPOUT = 0.5


class RowReading(nn.Module):
    """Changes the base classifier's logits by what retrieved rows hold, not by labels alone.

    With e an encoding of inputs, rows i weighed by a_i and their labels y_i:

        r = sum_i a_i (Y[y_i] + T(e(x) - e(x_i)))

    Y embeds labels and T is a network: the value of TabR (Gorishniy et al. 2023, arXiv 2307.14338).
    A last network reads r. At first it gives 0, so a reader of full rows starts as one of labels.
    It does not read e(x), as TabR's does, and half of e is dropped in training: else it becomes a
    second classifier, which keeps the rule of its training.

    Args:
        num_classes: C.
        tokens: Makes tokens `[..., T, width]` of inputs.
        width: Width of a token.
    """

    def __init__(self, num_classes: int, tokens: nn.Module, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.encode = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(DROPOUT), nn.Linear(width, HIDDEN)
        )
        self.label = nn.Embedding(num_classes, HIDDEN)
        self.difference = nn.Sequential(
            nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN, bias=False)
        )
        last = nn.Linear(HIDDEN, num_classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.answer = nn.Sequential(
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            last,
        )

    def forward(self, batch: Batch, retrieved: Batch, weight_BS: Tensor) -> Tensor:
        """What is added to the logits `[B, C]`.

        Args:
            batch: Inputs, `[B, ...]`.
            retrieved: Inputs and `label` of rows, `[B, S, ...]`.
            weight_BS: How rows are weighed, 0 where one is hidden.
        """
        own_BH = self._encode(batch)
        difference_BSH = own_BH[:, None] - self._encode(retrieved)
        value_BSH = self.label(retrieved["label"]) + self.difference(difference_BSH)
        read_BH = torch.einsum("bs,bsh->bh", weight_BS, value_BSH)
        return self.answer(read_BH)

    def _encode(self, rows: Batch) -> Tensor:
        return self.encode(self.tokens(rows).mean(dim=-2))
