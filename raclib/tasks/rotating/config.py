"""What a run of the rotating task can be told."""

from dataclasses import dataclass

from jsonargparse.typing import OpenUnitInterval, PositiveFloat, PositiveInt

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
