"""What a pass over the keys leaves: statistics of tiles, sums of keys by groups of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from raclib.retrieval.problem import FLOOR, MASKED


class KeySums:
    """Running sums of w * key and of w, w = 2**(score - top), for each query and group of rows."""

    def __init__(self, like_BSd: Tensor, num_groups: int) -> None:
        shape = (num_groups, *like_BSd.shape)
        self.sums_GBSd = like_BSd.new_zeros(shape)
        self.totals_GBS = like_BSd.new_zeros(shape[:-1])
        self.tops_GBS = like_BSd.new_full(shape[:-1], FLOOR)

    def add(
        self, group: int, part: slice, sum_bSd: Tensor, total_bS: Tensor, top_bS: Tensor
    ) -> None:
        """Adds rows by sums of w * key and of w, w relative to 2**top_bS (at least FLOOR)."""
        held_bS = self.tops_GBS[group, part]
        new_bS = torch.maximum(held_bS, top_bS)
        decay_bS, gain_bS = (held_bS - new_bS).exp2_(), (top_bS - new_bS).exp2_()
        held_bS.copy_(new_bS)
        self.totals_GBS[group, part].mul_(decay_bS).addcmul_(total_bS, gain_bS)
        sums_bSd = self.sums_GBSd[group, part].mul_(decay_bS[..., None])
        sums_bSd.addcmul_(sum_bSd, gain_bS[..., None])


@dataclass(frozen=True)
class TileStats:
    """What each tile holds for each query.

    Attributes:
        tops_BSN: Largest score, below FLOOR where no row of the tile is eligible.
        sums_BSN: Sum of 2**(score - top) over its rows, 0 where none is eligible.
        energies_BSN: Sum of (score - top) * 2**(score - top). Where it is known for several tiles
            together, times 2**top, it stands at the first of them.
    """

    tops_BSN: Tensor
    sums_BSN: Tensor
    energies_BSN: Tensor

    @classmethod
    def empty(cls, like_BSd: Tensor, num_tiles: int) -> "TileStats":
        """No tile holds an eligible row."""
        shape = (*like_BSd.shape[:-1], num_tiles)
        zeros = like_BSd.new_zeros
        return cls(like_BSd.new_full(shape, MASKED), zeros(shape), zeros(shape))

    def put(
        self,
        block: slice,
        tiles: slice,
        top_bSn: Tensor,
        base_bSn: Tensor,
        total_bSn: Tensor,
        energy_bSn: Tensor,
    ) -> None:
        """Describes some tiles by sums of w and of (score - base) * w, w = 2**(score - base)."""
        rise_bSn = top_bSn.clamp_min(FLOOR) - base_bSn
        shrink_bSn = rise_bSn.neg().exp2_()
        self.tops_BSN[block, :, tiles] = top_bSn
        self.sums_BSN[block, :, tiles] = total_bSn * shrink_bSn
        self.energies_BSN[block, :, tiles] = (energy_bSn - rise_bSn * total_bSn) * shrink_bSn

    def entropy(self) -> Tensor:
        """Entropy of the draw over all tiles [B, S], nats; 0 where nothing is eligible.

        By the chain rule: of the draw of a tile, and within tiles by their probability.
        """
        top_BS1 = self.tops_BSN.amax(-1, keepdim=True).clamp_min(FLOOR)
        prob_BSN = (self.tops_BSN - top_BS1).exp2_().mul_(self.sums_BSN)
        prob_BSN /= prob_BSN.sum(-1, keepdim=True).clamp_min(0.5)
        sums_BSN = self.sums_BSN.clamp_min(0.5)  # 0 where nothing is eligible, else at least 1
        within_BSN = sums_BSN.log2().sub_(self.energies_BSN / sums_BSN)
        within_BS = within_BSN.mul_(prob_BSN).sum(-1) * math.log(2)
        return (torch.special.entr(prob_BSN).sum(-1) + within_BS).clamp_min(0)
