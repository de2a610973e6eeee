"""Score-function estimators: the gradient of an expected loss by the law of what was drawn.

Each gives sum_S log p * (l - b) with a baseline b that does not depend on the draw it is compared
with, so the gradient is unbiased whatever b is; a good b lowers its variance.
"""

import torch
from torch import Tensor, nn

from raclib.errors import UserError


class Estimator(nn.Module):
    """No baseline, and the interface of the others.

    Attributes:
        num_sets: Sets of rows sampled for an example.
        uses_greedy: Whether the loss of the greedy rollout is wanted.
    """

    uses_greedy = False

    def __init__(self, num_sets: int = 1) -> None:
        super().__init__()
        if num_sets < 1:
            raise UserError(f"num_sets is {num_sets}: sample at least 1 set of rows an example")
        self.num_sets = num_sets

    def forward(
        self, losses_MB: Tensor, log_probs_MBS: Tensor, greedy_losses_B: Tensor | None = None
    ) -> Tensor:
        """The pseudo-loss whose gradient is the score-function estimate.

        Args:
            losses_MB: Loss of each sampled set of rows; no gradient passes through it here.
            log_probs_MBS: Log-probability of each draw.
            greedy_losses_B: Loss of the greedy rows, needed where `uses_greedy`.

        Returns:
            A scalar, the mean over sets and examples.
        """
        losses_MB = losses_MB.detach()
        advantage_MB = losses_MB - self.baseline(losses_MB, greedy_losses_B)
        return (log_probs_MBS.sum(-1) * advantage_MB).mean()

    def baseline(self, losses_MB: Tensor, greedy_losses_B: Tensor | None) -> Tensor:
        """What losses are compared with, of a shape that broadcasts to [M, B]."""
        return losses_MB.new_zeros(())


class MeanEstimator(Estimator):
    """Compares with a running mean of the losses of earlier steps, kept in the state dict."""

    def __init__(self, num_sets: int = 1, momentum: float = 0.99) -> None:
        super().__init__(num_sets)
        self.momentum = momentum
        self.total: Tensor
        self.weight: Tensor
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def baseline(self, losses_MB: Tensor, greedy_losses_B: Tensor | None) -> Tensor:
        """The mean of the steps before: with this step's losses in it, it would be biased."""
        mean = self.total / self.weight.clamp_min(1e-12)
        if self.training:
            self.total = self.momentum * self.total + (1 - self.momentum) * losses_MB.mean()
            self.weight = self.momentum * self.weight + (1 - self.momentum)
        return mean


class GreedyEstimator(Estimator):
    """Compares with the greedy rollout of the example (Rennie et al. 2017; the paper's choice)."""

    uses_greedy = True

    def baseline(self, losses_MB: Tensor, greedy_losses_B: Tensor | None) -> Tensor:
        """The greedy loss of each example."""
        assert greedy_losses_B is not None
        return greedy_losses_B.detach()


class LeaveOneOutEstimator(Estimator):
    """Compares each set with the mean of the example's other sets (RLOO: Kool et al. 2019)."""

    def __init__(self, num_sets: int = 2) -> None:
        super().__init__(num_sets)
        if num_sets < 2:
            raise UserError(f"num_sets is {num_sets}: rloo compares sets, give at least 2")

    def baseline(self, losses_MB: Tensor, greedy_losses_B: Tensor | None) -> Tensor:
        """Mean of the other sets."""
        return (losses_MB.sum(0) - losses_MB) / (len(losses_MB) - 1)


ESTIMATORS: dict[str, type[Estimator]] = {
    "none": Estimator,
    "mean": MeanEstimator,
    "greedy": GreedyEstimator,
    "rloo": LeaveOneOutEstimator,
}


def build_estimator(name: str, num_sets: int) -> Estimator:
    """The estimator of that name: none, mean, greedy or rloo."""
    if name not in ESTIMATORS:
        raise UserError(f"estimator is {name!r}: choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name](num_sets)
