"""Simulated changes of the labelling rule, so that training teaches to trust recent rows.

Before the cutoff nothing changes, so nothing else would.
"""

import torch
from torch import Tensor

from raclib.batch import Batch

MAX_AGE = 1.3
"""Of a change, in units of the oldest retrieved row's age, or of 1 where that is older: above 1, so
that at times all rows are of the new rule."""
EVEN_SHARE = 0.25
"""Of the changes that are of any age alike; those of the others are spread evenly in their
logarithm, from `YOUNGEST` of the greatest on, so that a change of a few labels ago is learned too.
"""
YOUNGEST = 1 / 64
MIXED_SHARE = 0.7
SCALARS = 9


class RuleChanges:
    """Gives a share of the examples, and what is retrieved for them, labels of another rule.

    A rule changes within an interval of a direction of keys, at some age: labels of rows in it that
    became known since, and of the example if it is in it, are permuted, or all set to one class
    (half each). The direction is random, often mixed with the base classifier's score of a class;
    the interval lies between two quantiles of the retrieved rows.

    Args:
        share: Share of examples, in [0, 1].
        num_classes: C.
        key_dim: Width of a key.
        base: Where the base classifier's scores lie in a key; an empty slice if they do not.
    """

    def __init__(self, share: float, num_classes: int, key_dim: int, base: slice) -> None:
        self.share, self.base = share, base
        self.sizes = [SCALARS, key_dim, num_classes]

    @property
    def num_uniforms(self) -> int:
        """Uniform numbers that an example takes."""
        return sum(self.sizes)

    def __call__(
        self, batch: Batch, retrieved: Batch, missing_MBS: Tensor, uniforms_BX: Tensor
    ) -> tuple[Batch, Batch]:
        """The batch and its rows with other labels.

        Args:
            batch: `label` int64 `[B]` and `key` float `[B, d]` among others.
            retrieved: `label`, `key`, and `age` in windows, `[M, B, S, ...]`, among others.
            missing_MBS: Where there is no row.
            uniforms_BX: In [0, 1), float64.
        """
        chosen_b = torch.nonzero(uniforms_BX[:, 0] < self.share).squeeze(1)
        if not len(chosen_b):
            return batch, retrieved
        scalars_bX, direction_bd, order_bC = uniforms_BX[chosen_b].float().split(self.sizes, dim=1)
        # The example is a row beside its own, in front; where there is none it stands in for it.
        key_b1d, label_b1 = batch["key"][chosen_b, None].float(), batch["label"][chosen_b, None]
        missing_bR = _rows(missing_MBS, chosen_b)
        key_bRd = torch.where(missing_bR[..., None], key_b1d, _rows(retrieved["key"], chosen_b))
        label_bR = torch.cat([label_b1, _rows(retrieved["label"], chosen_b)], dim=1)

        place_bR = self._places(torch.cat([key_b1d, key_bRd], dim=1), direction_bd, scalars_bX)
        changed_bR = _between_quantiles(place_bR, scalars_bX[:, 4:6])
        age_bR = _rows(retrieved["age"], chosen_b).masked_fill(missing_bR, 0.0)
        # A young corpus has no rows of an age of 1: changes would never be within it.
        oldest_b1 = age_bR.amax(dim=1, keepdim=True).clamp_max(1.0)
        changed_bR[:, 1:] &= age_bR < MAX_AGE * _spread(scalars_bX[:, 6:7]) * oldest_b1
        new_bR = torch.where(
            changed_bR, self._rule(scalars_bX, order_bC).gather(1, label_bR), label_bR
        )

        label_B, label_MBS = batch["label"].clone(), retrieved["label"].clone()
        label_B[chosen_b] = new_bR[:, 0]
        sets_bMS = new_bR[:, 1:].unflatten(1, (len(label_MBS), -1))
        label_MBS[:, chosen_b] = sets_bMS.transpose(0, 1)
        return {**batch, "label": label_B}, {**retrieved, "label": label_MBS}

    def _places(self, key_bRd: Tensor, direction_bd: Tensor, scalars_bX: Tensor) -> Tensor:
        """Where rows lie along the direction of each example, `[b, R]`."""
        normal_bd = torch.erfinv((2 * direction_bd - 1).clamp(-0.9999, 0.9999))
        place_bR = _standard(torch.einsum("bRd,bd->bR", key_bRd, normal_bd))
        base_bRF = key_bRd[..., self.base]
        if not base_bRF.shape[2]:
            return place_bR
        one_b = (scalars_bX[:, 3] * base_bRF.shape[2]).long()
        score_bR = _standard(
            base_bRF.gather(2, one_b[:, None, None].expand(*place_bR.shape, 1))[..., 0]
        )
        weight_b1 = scalars_bX[:, 2:3] * (scalars_bX[:, 1:2] < MIXED_SHARE)
        return (1 - weight_b1) * place_bR + weight_b1 * score_bR

    def _rule(self, scalars_bX: Tensor, order_bC: Tensor) -> Tensor:
        """The class that each class becomes, int64 `[b, C]`."""
        one_b1 = (scalars_bX[:, 8:9] * order_bC.shape[1]).long()
        return torch.where(scalars_bX[:, 7:8] < 0.5, order_bC.argsort(dim=1), one_b1)


def _rows(values_MBX: Tensor, chosen_b: Tensor) -> Tensor:
    """The rows of all sets of the chosen examples, `[b, M * S, ...]`."""
    return values_MBX[:, chosen_b].transpose(0, 1).flatten(1, 2)


def _spread(uniform_b1: Tensor) -> Tensor:
    """Ages in units of the greatest: even below `EVEN_SHARE`, above it even in the logarithm."""
    even_b1, rest_b1 = uniform_b1 / EVEN_SHARE, (uniform_b1 - EVEN_SHARE) / (1 - EVEN_SHARE)
    return torch.where(even_b1 < 1, even_b1, YOUNGEST**rest_b1)


def _standard(place_bR: Tensor) -> Tensor:
    return place_bR / place_bR.std(dim=1, keepdim=True).clamp_min(1e-6)


def _between_quantiles(place_bR: Tensor, quantiles_b2: Tensor) -> Tensor:
    """Whether rows lie between two quantiles of them."""
    at_b2 = (quantiles_b2 * place_bR.shape[1]).long().sort(dim=1).values
    bounds_b2 = place_bR.sort(dim=1).values.gather(1, at_b2)
    return (place_bR >= bounds_b2[:, :1]) & (place_bR <= bounds_b2[:, 1:])
