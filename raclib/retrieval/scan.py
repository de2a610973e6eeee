"""One pass over the keys: what every tile of rows holds, without a [B, K] tensor."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from raclib.retrieval.problem import FLOOR, MASKED, Problem

MAX_TILES = 2048
MAX_GROUPS = 128
MIN_GROUP = 256  # rows: smaller groups cost more in calls than they save in sums
CHUNK = 2**12  # rows scored at once, where tiles are no larger


def tile_size(num_keys: int) -> int:
    """Rows a tile. Depends on the number of keys only, so that draws do not depend on the batch."""
    if num_keys <= 256:
        return max(num_keys, 1)
    balanced = 2 ** ((num_keys.bit_length() + 1) // 2 - 1)
    fewest = 2 ** max(-(-num_keys // MAX_TILES) - 1, 0).bit_length()
    return max(64, balanced, fewest)


@dataclass(frozen=True)
class Layout:
    """How K rows are cut: tiles to draw from, groups of them to sum keys by, chunks to compute."""

    num_keys: int
    tile: int
    group: int

    @classmethod
    def cut(cls, num_keys: int, tile: int, max_groups: int) -> "Layout":
        """Groups are whole tiles, so that no tile lies in two."""
        least = max(-(-num_keys // max_groups), MIN_GROUP)
        tiles_a_group = -(-least // tile)
        return cls(num_keys, tile, tiles_a_group * tile)

    @property
    def num_tiles(self) -> int:
        """Tiles over all rows."""
        return -(-self.num_keys // self.tile)

    @property
    def num_groups(self) -> int:
        """Groups over all rows."""
        return -(-self.num_keys // self.group)

    def chunks(self, group: int | None = None, rows: int = CHUNK) -> Iterator[tuple[int, int]]:
        """Spans of about `rows`: whole tiles of one group, or the shorter tile at the end."""
        step = max(rows // self.tile, 1) * self.tile
        for each in range(self.num_groups) if group is None else (group,):
            start = each * self.group
            stop = min(start + self.group, self.num_keys)
            whole = stop - stop % self.tile
            yield from ((at, min(at + step, whole)) for at in range(start, whole, step))
            if whole < stop:
                yield whole, stop


class KeySums:
    """Running sums of w * key and of w, w = 2**(score - top), for each query and group of rows."""

    def __init__(self, like_BSd: Tensor, num_groups: int) -> None:
        shape = (num_groups, *like_BSd.shape)
        self.sums_GBSd = like_BSd.new_zeros(shape)
        self.totals_GBS = like_BSd.new_zeros(shape[:-1])
        self.tops_GBS = like_BSd.new_full(shape[:-1], FLOOR)

    def add(
        self,
        group: int,
        part: slice,
        weights_bSC: Tensor,
        total_bS: Tensor,
        top_bS: Tensor,
        keys_Cd: Tensor,
    ) -> None:
        """Adds rows by weights relative to 2**top_bS (at least FLOOR), and their sum."""
        held_bS = self.tops_GBS[group, part]
        new_bS = torch.maximum(held_bS, top_bS)
        decay_bS, gain_bS = (held_bS - new_bS).exp2_(), (top_bS - new_bS).exp2_()
        held_bS.copy_(new_bS)
        self.totals_GBS[group, part].mul_(decay_bS).addcmul_(total_bS, gain_bS)
        sums_bSd = self.sums_GBSd[group, part].mul_(decay_bS[..., None])
        sums_bSd.addcmul_(weights_bSC @ keys_Cd, gain_bS[..., None])


@dataclass(frozen=True)
class TileStats:
    """What each tile holds for each query.

    Attributes:
        tops_BSN: Largest score, below FLOOR where no row of the tile is eligible.
        sums_BSN: Sum of 2**(score - top) over its rows, 0 where none is eligible.
        energies_BSN: Sum of (score - top) * 2**(score - top).
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

    def fill(self, block: slice, tiles: slice, scores_bSnT: Tensor, weights_bSnT: Tensor) -> Tensor:
        """Describes some tiles by their scores, which are overwritten.

        Args:
            block: The examples.
            tiles: The tiles.
            scores_bSnT: Their scores.
            weights_bSnT: Room for 2**(score - top).

        Returns:
            The tops that the weights are relative to, [b, S, n], at least FLOOR.
        """
        top_bSn = self.tops_BSN[block, :, tiles]
        torch.amax(scores_bSnT, -1, out=top_bSn)
        top_bSn = top_bSn.clamp_min(FLOOR)
        torch.exp2(scores_bSnT.sub_(top_bSn[..., None]), out=weights_bSnT)
        torch.sum(weights_bSnT, -1, out=self.sums_BSN[block, :, tiles])
        torch.sum(scores_bSnT.mul_(weights_bSnT), -1, out=self.energies_BSN[block, :, tiles])
        return top_bSn

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


def scan(problem: Problem, layout: Layout, with_sums: bool) -> tuple[TileStats, KeySums | None]:
    """Reads all keys once and returns tile statistics and, on request, key sums by groups."""
    stats = TileStats.empty(problem.queries_BSd, layout.num_tiles)
    sums = KeySums(problem.queries_BSd, layout.num_groups) if with_sums else None
    buffer = problem.queries_BSd.new_empty(0)
    for start, stop, block, scores_bSC, keys_Cd in problem.scores(layout.chunks()):
        tiles = slice(start // layout.tile, -(-stop // layout.tile))
        scores_bSnT = scores_bSC.unflatten(-1, (tiles.stop - tiles.start, -1))
        if len(buffer) < scores_bSC.numel():
            buffer = torch.empty_like(scores_bSC.flatten())
        weights_bSnT = buffer[: scores_bSC.numel()].view_as(scores_bSnT)
        top_bSn = stats.fill(block, tiles, scores_bSnT, weights_bSnT)
        if sums is not None:
            top_bS = top_bSn.amax(-1)
            gain_bSn = (top_bSn - top_bS[..., None]).exp2_()
            total_bS = (gain_bSn * stats.sums_BSN[block, :, tiles]).sum(-1)
            weights_bSC = weights_bSnT.mul_(gain_bSn[..., None]).view_as(scores_bSC)
            sums.add(start // layout.group, block, weights_bSC, total_bS, top_bS, keys_Cd)
    return stats, sums
