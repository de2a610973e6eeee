"""The copy reader: an answer copied from retrieved labels, mixed with a base classifier's."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import Reading
from raclib.models.row_reading import RowReading

HIDDEN = 32
METRIC_DIM = 32
SHARPNESS = 4.0  # of the attention at the first step, where the mean distance of the rows is 1
MOST_COPIED = 0.999  # so that a class that no row has keeps some of the base's answer
SMOOTHING = 0.005  # what the vote and the base give away, so that no class has probability 0
MIN_AGE = 1e-3
MAX_EVENT_AGE = 20.0


class Attention(NamedTuple):
    """How the retrieved rows are weighed.

    Attributes:
        weight_BS: Sums to one; 0 where a row is hidden, unless all are.
        hidden_BSH: What the weights are made of.
    """

    weight_BS: Tensor
    hidden_BSH: Tensor


class CopyReader(nn.Module):
    """Log-probabilities of the classes, a mixture of two answers.

    With retrieved rows i of keys k_i and labels y_i, and b the log-probabilities of a base
    classifier that sees the input alone:

        a_i = softmax_i(f(d_i, ages, group) - 4 e^l d_i / mean d - |M (k - k_i)|^2)
        p = g (.995 sum_i a_i onehot(y_i) + .005 mean vote)
            + (1 - g) (.995 softmax(e^t b) + .005 / C)

    d is the squared distance of keys, f and g are networks of one hidden layer; g reads the weighed
    hidden layer of f, and how sure and how far apart the two answers are. So it starts near what it
    must beat, is small, and can name a class that training never saw. The mixture is that of
    pointer networks (See et al. 2017, arXiv 1704.04368) and of nearest-neighbour language models
    (Khandelwal et al. 2020, arXiv 1911.00172). With no row the base answers.

    Args:
        num_classes: C.
        key_dim: Width of a key.
        group_S: int64, which of the groups each retrieved row is of, by its column.
        rows: Reads full rows: its answer is added to e^l b. None where labels are all that is read.
    """

    group_SG: Tensor

    def __init__(
        self, num_classes: int, key_dim: int, group_S: Tensor, rows: RowReading | None = None
    ) -> None:
        super().__init__()
        self.rows = rows
        self.num_classes, num_groups = num_classes, int(group_S.max()) + 1
        self.register_buffer("group_SG", F.one_hot(group_S, num_groups).float(), persistent=False)
        self.features = nn.Sequential(nn.Linear(5 + num_groups, HIDDEN), nn.GELU())
        self.score = _zero(nn.Linear(HIDDEN, 1))
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.metric = nn.Linear(key_dim, METRIC_DIM, bias=False)
        nn.init.normal_(self.metric.weight, std=0.01)
        self.log_trust = nn.Parameter(torch.zeros(()))
        self.gate = nn.Sequential(
            nn.Linear(HIDDEN + 6, HIDDEN), nn.GELU(), _zero(nn.Linear(HIDDEN, 1))
        )

    def forward(
        self,
        batch: Batch,
        retrieved: Batch | None = None,
        hide_input_B: Tensor | None = None,
        hide_items_BS: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities `[B, C]`.

        Args:
            batch: `base`, log-probabilities `[B, C]`, and `key` `[B, d]`; inputs, where full rows
                are read.
            retrieved: `label`, `key`, `age` and `event_age`, `[B, S, ...]`; likewise.
            hide_input_B: Not looked at: the input is read by the base classifier alone.
            hide_items_BS: True where a row must not be read.
        """
        if retrieved is None:
            return batch["base"]
        assert hide_items_BS is not None
        return self.read(batch, retrieved, hide_input_B, hide_items_BS).logits_BC

    def read(
        self,
        batch: Batch,
        retrieved: Batch,
        hide_input_B: Tensor | None,
        hide_items_BS: Tensor,
    ) -> Reading:
        """The same, and the share of the answer that is copied from each row."""
        attention = self._attend(batch["key"].float(), retrieved, hide_items_BS)
        vote_BC = self._vote(attention.weight_BS, retrieved["label"])
        seen_BS = (~hide_items_BS).float()
        mean_BS = seen_BS / seen_BS.sum(1, keepdim=True).clamp_min(1)
        plain_BC = self._vote(mean_BS, retrieved["label"])
        trusted_BC = self._trusted(batch, retrieved, attention, hide_items_BS)
        gate_B1 = self._gate(attention, vote_BC, trusted_BC, hide_items_BS.all(1, keepdim=True))
        copied_BC = (1 - SMOOTHING) * vote_BC + SMOOTHING * plain_BC
        own_BC = (1 - SMOOTHING) * trusted_BC + SMOOTHING / self.num_classes
        log_probs_BC = (gate_B1 * copied_BC + (1 - gate_B1) * own_BC).log()
        return Reading(
            log_probs_BC, gate_B1 * ((1 - SMOOTHING) * attention.weight_BS + SMOOTHING * mean_BS)
        )

    def _trusted(
        self, batch: Batch, retrieved: Batch, attention: Attention, hidden_BS: Tensor
    ) -> Tensor:
        """The base classifier's answer, changed by what full rows say."""
        logits_BC = batch["base"] * self.log_trust.exp()
        if self.rows is not None:
            said_BC = self.rows(batch, retrieved, attention.weight_BS)
            logits_BC = logits_BC + said_BC.masked_fill(hidden_BS.all(1, keepdim=True), 0.0)
        return logits_BC.softmax(dim=1)

    def _attend(self, key_Bd: Tensor, retrieved: Batch, hidden_BS: Tensor) -> Attention:
        difference_BSd = key_Bd[:, None] - retrieved["key"]
        distance_BS = difference_BSd.square().sum(-1)
        seen_BS = (~hidden_BS).float()
        mean_B1 = (distance_BS * seen_BS).sum(1, keepdim=True) / seen_BS.sum(
            1, keepdim=True
        ).clamp_min(1)
        relative_BS = distance_BS / mean_B1.clamp_min(1e-6)
        hidden_BSH = self.features(self._facts(distance_BS, retrieved))
        logits_BS = (
            self.score(hidden_BSH).squeeze(-1)
            - SHARPNESS * self.log_sharpness.exp() * relative_BS
            - self.metric(difference_BSd).square().sum(-1)
        )
        lowest = torch.finfo(logits_BS.dtype).min  # not infinity: all may be hidden
        weight_BS = logits_BS.masked_fill(hidden_BS, lowest).softmax(dim=1)
        return Attention(weight_BS, hidden_BSH)

    def _facts(self, distance_BS: Tensor, retrieved: Batch) -> Tensor:
        age_BS = retrieved["age"]
        event_BS = retrieved["event_age"].clamp(0, MAX_EVENT_AGE)
        logs = (age_BS + MIN_AGE).log(), (event_BS + MIN_AGE).log()
        facts_BSF = torch.stack([distance_BS, age_BS, event_BS, *logs], dim=-1)
        return torch.cat([facts_BSF, self.group_SG.expand(len(age_BS), -1, -1)], dim=-1)

    def _vote(self, weight_BS: Tensor, label_BS: Tensor) -> Tensor:
        vote_BC = weight_BS.new_zeros(len(weight_BS), self.num_classes)
        return vote_BC.scatter_add(1, label_BS, weight_BS)

    def _gate(
        self, attention: Attention, vote_BC: Tensor, base_BC: Tensor, is_empty_B1: Tensor
    ) -> Tensor:
        """Weight `[B, 1]` of the copied answer; 0 where nothing was retrieved."""
        read_BH = torch.einsum("bs,bsh->bh", *attention)
        answers = [vote_BC, base_BC]
        surety = [part(answer_BC) for answer_BC in answers for part in (_highest, _entropy)]
        apart = [(vote_BC * base_BC).sum(1), (vote_BC - base_BC).abs().sum(1)]
        gate_B1 = self.gate(torch.cat([read_BH, torch.stack([*surety, *apart], dim=1)], dim=1))
        return MOST_COPIED * gate_B1.sigmoid().masked_fill(is_empty_B1, 0.0)


def _zero(layer: nn.Linear) -> nn.Linear:
    """A layer that at first gives 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _highest(answer_BC: Tensor) -> Tensor:
    return answer_BC.max(dim=1).values


def _entropy(answer_BC: Tensor) -> Tensor:
    return -(answer_BC * (answer_BC + 1e-6).log()).sum(dim=1)
