"""One training step: Algorithm 1 of the paper, in its order (arXiv 2604.07027)."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from raclib.batch import Batch
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.draw import Draw, draw
from raclib.retrieval.estimators import Estimator
from raclib.retrieval.penalties import dissimilarity, draw_entropy, overlap
from raclib.retrieval.table import QuantizedKeys
from raclib.run.config import RetrievalConfig
from raclib.training.noise import Noise
from raclib.training.rule_changes import RuleChanges
from raclib.training.timer import Timer

Metrics = dict[str, Tensor]


class History(Protocol):
    """What examples may retrieve from."""

    def select(self, batch: Batch) -> tuple[Tensor | QuantizedKeys, Tensor, Tensor]:
        """Keys (`[K, d]` or `[B, K, d]`) and the interval lo_B, hi_B eligible for each example."""
        ...

    def look(self, batch: Batch) -> Tensor:
        """Rows that are read without a draw, `[B, N]`, -1 where there are fewer; N may be 0."""
        ...

    def fetch(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """Contents of rows, tensors `[M, B, S, ...]`; arbitrary where a row is -1."""
        ...


class Space(NamedTuple):
    """What a batch draws from, and how sharply."""

    keys: Tensor | QuantizedKeys
    lo_B: Tensor
    hi_B: Tensor
    temperature: float
    scale: float | None


class RetrievalStep(nn.Module):
    """Loss whose gradient is an unbiased estimate of the expected loss's gradient.

    A module, so that `DistributedDataParallel` sees one forward pass from the batch to the loss.

    Args:
        model: Query generator and classifier.
        history: What may be retrieved.
        estimator: Turns losses and log-probabilities into the score-function pseudo-loss.
        config: Switches of the draw and its tricks.
        timer: Told how long drawing and fetching take.
        changes: Simulates rule changes in what is learned from; None for the data as they are.
    """

    def __init__(
        self,
        model: RetrievalClassifier,
        history: History,
        estimator: Estimator,
        config: RetrievalConfig,
        timer: Timer,
        changes: RuleChanges | None = None,
    ) -> None:
        super().__init__()
        self.model, self.history, self.estimator = model, history, estimator
        self.config, self.timer, self.changes = config, timer, changes

    def forward(
        self, batch: Batch, noise: Noise, temperature: float, progress: float
    ) -> tuple[Tensor, Metrics]:
        """The loss to differentiate, and detached metrics.

        Args:
            batch: Inputs and `label` [B] int64 of the local examples.
            noise: Uniform numbers of this step.
            temperature: Of the draw's softmax.
            progress: Share of training done, in [0, 1]; the entropy bonus decays with it.
        """
        with self.timer("look"):
            looked_BN = self.history.look(batch)
        if self.model.queries is None:
            return self._without_draw(batch, looked_BN, noise)
        queries_BSd = self.model.queries(batch)
        scale = None if self.config.scale_logits else 1.0
        space = Space(*self.history.select(batch), temperature, scale)
        with self.timer("draw"):
            drawn = self.draw(queries_BSd, space, noise)
        rows_MBS = needed_MBS = drawn.rows

        # One fetch for all sets; the greedy rows ride along where the estimator wants them.
        num_sets, uses_greedy = len(rows_MBS), self.estimator.uses_greedy
        if uses_greedy:
            assert drawn.greedy is not None
            needed_MBS = torch.cat([rows_MBS, drawn.greedy.unsqueeze(0)])
        batch, retrieved, read_MBX = self._read(batch, needed_MBS, looked_BN, noise)

        losses_MB = torch.stack(
            [self._loss(batch, retrieved, read_MBX, m, noise) for m in range(num_sets)]
        )
        with torch.no_grad():
            greedy_losses_B = (
                self._loss(batch, retrieved, read_MBX, num_sets, noise) if uses_greedy else None
            )
        pseudo_loss = self.estimator(losses_MB, drawn.log_prob, greedy_losses_B)
        penalty = self._penalty(batch, queries_BSd, rows_MBS[0], space, progress)
        return losses_MB.mean() + pseudo_loss + penalty, {
            "loss": losses_MB.mean().detach(),
            "entropy": drawn.entropy.mean(),
            "unique_share": _unique_share(needed_MBS),
        }

    def _without_draw(
        self, batch: Batch, looked_BN: Tensor, noise: Noise
    ) -> tuple[Tensor, Metrics]:
        """The same where every row is looked up: nothing is sampled."""
        none_MBS = looked_BN.new_empty(1, len(looked_BN), 0)
        batch, retrieved, read_MBX = self._read(batch, none_MBS, looked_BN, noise)
        loss = self._loss(batch, retrieved, read_MBX, 0, noise).mean()
        return loss, {"loss": loss.detach()}

    def _read(
        self, batch: Batch, drawn_MBS: Tensor, looked_BN: Tensor, noise: Noise
    ) -> tuple[Batch, Batch, Tensor]:
        """The batch, the drawn rows and then those looked up, `[M, B, S + N]`, and which they are:
        under the rule of this step."""
        read_MBX = join(drawn_MBS, looked_BN)
        with self.timer("fetch"):
            retrieved = self.history.fetch(batch, read_MBX)
        if self.changes is None:
            return batch, retrieved, read_MBX
        return *self.changes(batch, retrieved, read_MBX < 0, noise.change_BX), read_MBX

    def draw(self, queries_BSd: Tensor, space: Space, noise: Noise) -> Draw:
        """M sampled sets of rows [M, B, S], and the greedy rows if the estimator wants them."""
        return draw(
            queries_BSd,
            space.keys,
            temperature=space.temperature,
            lo=space.lo_B,
            hi=space.hi_B,
            uniforms=noise.draw_MBS2,
            scale=space.scale,
            with_greedy=self.estimator.uses_greedy,
        )

    def _penalty(
        self, batch: Batch, queries_BSd: Tensor, rows_BS: Tensor, space: Space, progress: float
    ) -> Tensor:
        """The penalties that are switched on (the paper's B.3.2); none by default."""
        keys, lo_B, hi_B, temperature, scale = space
        total = queries_BSd.new_zeros(())
        if self.config.entropy_bonus:
            entropy_BS = draw_entropy(queries_BSd, keys, temperature, lo_B, hi_B, scale)
            total = total - self.config.entropy_bonus * (1 - progress) * entropy_BS.mean()
        if self.config.diversity_penalty:
            mass = overlap(queries_BSd, keys, rows_BS, temperature, lo_B, hi_B, scale)
            total = total + self.config.diversity_penalty * mass.mean()
        if self.config.similarity_penalty:
            distance = dissimilarity(queries_BSd, batch["key"].float())
            total = total + self.config.similarity_penalty * distance
        return total

    def _loss(
        self, batch: Batch, retrieved: Batch, rows_MBX: Tensor, m: int, noise: Noise
    ) -> Tensor:
        """Cross-entropy [B] of the classifier given set m, under this step's dropout."""
        unseen_BS = noise.item_BS < self.config.item_dropout  # of the drawn rows
        hide_items_BX = rows_MBX[m] < 0
        hide_items_BX[:, : unseen_BS.shape[1]] |= unseen_BS
        logits_BC = self.model.classify(
            batch,
            {name: values[m] for name, values in retrieved.items()},
            noise.input_B < self.config.input_dropout,
            hide_items_BX,
        )
        return F.cross_entropy(logits_BC, batch["label"], reduction="none")


class PlainStep(nn.Module):
    """Cross-entropy of a classifier that retrieves nothing: the baseline, called the same way."""

    def __init__(self, model: RetrievalClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, noise: Noise, temperature: float, progress: float
    ) -> tuple[Tensor, Metrics]:
        """The loss to differentiate, and detached metrics."""
        loss = F.cross_entropy(self.model.classify(batch), batch["label"])
        return loss, {"loss": loss.detach()}


def join(drawn_MBS: Tensor, looked_BN: Tensor) -> Tensor:
    """Drawn rows and then those that were looked up, `[M, B, S + N]`."""
    return torch.cat([drawn_MBS, looked_BN.expand(len(drawn_MBS), -1, -1)], dim=2)


def _unique_share(rows: Tensor) -> Tensor:
    return torch.tensor(rows.unique().numel() / rows.numel())
