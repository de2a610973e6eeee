"""What a run of the rotating task can be told."""

from dataclasses import dataclass

from jsonargparse.typing import OpenUnitInterval, PositiveFloat, PositiveInt

from raclib.errors import UserError
from raclib.tasks.generated import GeneratedTaskConfig


@dataclass
class RotatingConfig(GeneratedTaskConfig):
    """Rotating decision boundary: the classes' centres turn by half a circle over time
    (arXiv 2604.07027, B.2)."""

    name: str = "rotating"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    dim: PositiveInt = 64
    """Dimensions in which the classes lie."""
    separation: PositiveFloat = 4.0
    """Distance of the classes' centres, in standard deviations of the noise."""
    time_frequencies: PositiveInt = 8
    """Frequencies of the Fourier embedding of time, 1/2, 1, 3/2, ... turns over all time."""
    time_weight: PositiveFloat = 1.0
    """Factor of the time embedding in inputs and keys."""
    train_until: OpenUnitInterval = 0.5
    """Training and validation examples are earlier than this; all time is from 0 to 1."""
    num_bins: PositiveInt = 50
    """Equal time bins of the test."""
    num_recent: PositiveInt = 16
    """Rows of the rule that classifies by the mean of the most recent rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_examples < self.num_bins:
            raise UserError(
                f"test_examples: {self.test_examples} is below num_bins {self.num_bins}; a bin "
                "without an example has no accuracy"
            )
        if self.num_recent > self.history_size:
            raise UserError(
                f"num_recent: {self.num_recent} is above history_size {self.history_size}; the "
                "rule reads rows of an example's history"
            )
        if self.dim < 2:
            raise UserError(
                f"dim: {self.dim} has no direction that a boundary could turn to; give at least 2"
            )
