"""How rows are cut: tiles to draw from, groups of tiles to sum keys by, chunks to compute."""

from collections.abc import Iterator
from dataclasses import dataclass

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
    """A cut of K rows."""

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
