"""What a service can be told."""

from dataclasses import dataclass, field
from ipaddress import ip_address

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from raclib.errors import UserError
from raclib.run.config import TrackingConfig


@dataclass
class LimitsConfig:
    """What one request may ask, and how many may wait."""

    rows: PositiveInt = 1_000
    """Rows of a request."""
    bytes: PositiveInt = 8 * 2**20
    """Bytes of a request's body; a longer one is refused (413) without being read."""
    seconds: PositiveFloat = 10.0
    """Seconds after which a request is given up (504)."""
    evidence: NonNegativeInt = 64
    """Past rows shown for a row."""
    ongoing: PositiveInt = 64
    """Requests that a replica works on at a time."""
    queued: PositiveInt = 256
    """Requests that wait for a replica; more are told to come back (503 with Retry-After)."""


@dataclass
class WriterConfig:
    """How rows that come are gathered into versions of the corpus."""

    seconds: PositiveFloat = 0.5
    """Least time between two versions ..."""
    rows: PositiveInt = 1_000
    """... unless so many rows wait."""
    small_shards: PositiveInt = 64
    """Shards that may be small: when there are more they are merged."""


@dataclass
class QualityConfig:
    """How answers are judged by the labels that came since, and what they are compared with."""

    window: PositiveInt = 1_000
    """Labels that came last, over which scores are taken."""
    num_recent: PositiveInt = 300
    """Labels of whose frequencies the line `recent rates` consists."""
    num_neighbours: PositiveInt = 25
    """Neighbours of the nearest-neighbour vote."""
    neighbour_window: PositiveInt = 16_000
    """Rows known last among which they are looked for."""
    log_every_s: PositiveFloat = 10.0
    """Least time between two points of the curve in MLflow."""


@dataclass
class ServeConfig:
    """A trained model behind HTTP; it takes in labelled rows while it serves."""

    run: str
    """The run: <storage_path>/<name> of a training job, or an MLflow model URI such as
    runs:/<run id>/model."""
    name: str = "serve"
    """Name of the service, and of its run in MLflow."""
    host: str = "127.0.0.1"
    """Address it listens at. Any but that of this machine alone needs a token_file."""
    port: PositiveInt = 8000
    """Port it listens at."""
    token_file: str | None = None
    """File with the token that requests bring: `Authorization: Bearer <token>`. Every node of a
    cluster reads it, at the same path."""
    replicas: PositiveInt = 1
    """Processes that answer; each holds all keys."""
    cpus: PositiveFloat = 1.0
    """CPUs of a replica."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    writer: WriterConfig = field(default_factory=WriterConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(experiment="serving"))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __post_init__(self) -> None:
        if not self.is_local and not self.token_file:
            raise UserError(
                f"host: {self.host} can be reached from other machines; name a file with a token "
                "by --token_file, or serve at 127.0.0.1"
            )
