"""Moments of each query's softmax over its eligible keys, streamed."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.layout import Layout, tile_size
from raclib.retrieval.problem import FLOOR, Problem
from raclib.retrieval.product import product


class Moments(NamedTuple):
    """Of p = softmax(logits) over the eligible rows of each query; zeros where there are none.

    Attributes:
        log_total: log of the sum of exp(logit), [B, S].
        entropy: Nats, [B, S].
        mean: E[k], [B, S, d].
        covariance: E[logit k] - E[logit] E[k], [B, S, d].
    """

    log_total: Tensor
    entropy: Tensor
    mean: Tensor
    covariance: Tensor


def softmax_moments(problem: Problem) -> Moments:
    """Reads the keys once: three matrix products over them, memory for a few [B, S, d]."""
    tile = tile_size(len(problem.keys))
    ordered, order_B = problem.by_interval()
    narrowed, _ = ordered.narrowed(tile)
    running = _Running(narrowed.queries_BSd)
    for scored in narrowed.scores(Layout.cut(len(narrowed.keys), tile, 1).chunks()):
        running.add(scored.examples, scored.scores_bSC, F.pad(scored.keys_Cd, (0, 1), value=1.0))
    inverse_B = torch.argsort(order_B)
    return Moments(*(moment[inverse_B] for moment in running.moments()))


class _Running:
    """Sums of w and of w * (score - top) times (key, 1), with w = 2**(score - top)."""

    def __init__(self, like_BSd: Tensor) -> None:
        shape = (*like_BSd.shape[:-1], like_BSd.shape[-1] + 1)
        self.top_BS1 = like_BSd.new_full((*shape[:-1], 1), FLOOR)
        self.sums_BSe, self.energies_BSe = like_BSd.new_zeros(2, *shape)

    def add(self, part: slice, scores_bSC: Tensor, keys_Ce: Tensor) -> None:
        """Adds rows; `keys_Ce` carry a last column of ones."""
        new_bS1 = torch.maximum(self.top_BS1[part], scores_bSC.amax(-1, keepdim=True))
        shift_bS1 = self.top_BS1[part] - new_bS1
        # Energies are held relative to the top: as they stand they would cancel at low temperature.
        energies_bSe = self.energies_BSe[part].addcmul_(shift_bS1, self.sums_BSe[part])
        decay_bS1 = shift_bS1.exp2()
        scores_bSC = scores_bSC.sub_(new_bS1)
        weights_bSC = scores_bSC.exp2()
        self.sums_BSe[part].mul_(decay_bS1).add_(product(weights_bSC, keys_Ce.mT))
        energies_bSe.mul_(decay_bS1).add_(product(weights_bSC.mul_(scores_bSC), keys_Ce.mT))
        self.top_BS1[part] = new_bS1

    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order of `Moments`."""
        total_BS1 = self.sums_BSe[..., -1:].clamp_min(0.5)  # 0 if nothing is eligible, else >= 1
        mean_BSe, energy_BSe = self.sums_BSe / total_BS1, self.energies_BSe / total_BS1
        covariance_BSe = energy_BSe - energy_BSe[..., -1:] * mean_BSe
        log2_total_BS1 = total_BS1.log2()
        entropy_BS = (log2_total_BS1 - energy_BSe[..., -1:])[..., 0].clamp_min(0)
        log_total_BS = (log2_total_BS1 + self.top_BS1)[..., 0] * math.log(2)
        some_BS = self.sums_BSe[..., -1] > 0
        return (
            log_total_BS.where(some_BS, 0.0),
            entropy_BS.where(some_BS, 0.0) * math.log(2),
            mean_BSe[..., :-1],
            covariance_BSe[..., :-1] * math.log(2),
        )
