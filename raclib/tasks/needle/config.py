"""What a run of the needle task can be told."""

from dataclasses import dataclass, field

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt

from raclib.errors import UserError
from raclib.run.config import refuse_empty
from raclib.tasks.generated import GeneratedTaskConfig


@dataclass
class NeedleConfig(GeneratedTaskConfig):
    """Needle in a haystack: one row of each example's history holds the label (arXiv 2604.07027,
    B.1)."""

    name: str = "needle"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    history_sizes: list[PositiveInt] = field(default_factory=lambda: [2**n for n in range(1, 9)])
    """Numbers of rows in an example's history, one run for each and each seed (K)."""
    key_dim: PositiveInt = 64
    """Dimensions of keys and inputs."""
    item_bits: PositiveInt = 8
    """Bits of a row; the first bit of the right row is the label, all others are fair coins."""
    map_deviation: PositiveFloat = (2 / 64) ** 0.5
    """Standard deviation of the entries of the fixed matrix that turns the right key into the
    input. The paper says N(0, 2), which reads as 2 or as its square root; only with the variance
    2 / key_dim do losses start, and stay, where its figures have them."""
    noise_deviation: NonNegativeFloat = 0.1**0.5
    """Standard deviation of the noise on the input."""
    first_history_size: PositiveInt | None = None
    """Rows in the histories of the first step, growing geometrically to all; all from the start if
    not given."""
    growth_fraction: ClosedUnitInterval = 0.5
    """Share of the steps over which histories grow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_empty(history_sizes=self.history_sizes)
        sizes = {"history_sizes": min(self.history_sizes)}
        if self.first_history_size is not None:
            sizes["first_history_size"] = self.first_history_size
        for name, size in sizes.items():
            if size < self.retrieval.num_draws:
                raise UserError(
                    f"{name}: {size} is below retrieval.num_draws {self.retrieval.num_draws}; an "
                    "example cannot draw more rows than it has"
                )
        if self.model.reader == "products":
            raise UserError(
                "model.reader: products reads places of rows, which a needle has not; give concat"
            )
