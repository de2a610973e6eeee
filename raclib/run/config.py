"""What runs of every task can be told: typed, documented, checked when it is parsed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
)

from raclib.corpus.urls import refuse_credentials
from raclib.errors import UserError

MAX_SEED = 2**32 - 1
TRACKING_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and give a database's to the server"
)


def refuse_empty(**lists: Sequence[object]) -> None:
    """Raises a UserError for the first setting that is a list of nothing."""
    for name, values in lists.items():
        if not values:
            raise UserError(f"{name}: an empty list; give at least one")


@dataclass
class RetrievalConfig:
    """The draw, its gradient and the tricks of the paper's appendix B.3.2, each a switch."""

    num_draws: NonNegativeInt = 4
    """Rows drawn for an example (kappa)."""
    estimator: Literal["none", "mean", "greedy", "rloo"] = "greedy"
    """Baseline of the score-function gradient: none, a running mean, the greedy rollout's loss, or
    the mean of the other sampled sets."""
    num_sets: PositiveInt = 1
    """Sets of rows sampled for an example in a step (rloo needs at least 2)."""
    max_temperature: PositiveFloat = 0.01
    """Softmax temperature of the draw at the first step; decays exponentially ..."""
    min_temperature: PositiveFloat = 0.001
    """... to this at the last step."""
    scale_logits: bool = True
    """Divide query-key products by the square root of the key's width."""
    residual_to_similarity: bool = True
    """Learn the residual to cosine similarity: q = alpha q_theta + (1 - alpha) key of x."""
    initial_alpha: OpenUnitInterval = 0.5
    """Value of the learned alpha at the first step."""
    input_dropout: ClosedUnitInterval = 0.9
    """Share of examples whose classifier does not see the input in training
    (cls_stage_dropout_rate); at 1 it never sees it, after training neither."""
    item_dropout: ClosedUnitInterval = 0.1
    """Share of drawn rows hidden from the classifier in training (query_dropout_rate)."""
    entropy_bonus: NonNegativeFloat = 0.0
    """Strength of a bonus on the draw's entropy, decaying linearly to 0 over training."""
    diversity_penalty: NonNegativeFloat = 0.0
    """Strength of a penalty on the mass a query puts on rows picked by the others."""
    similarity_penalty: NonNegativeFloat = 0.0
    """Strength of a penalty that pulls queries towards the key of x (cosine)."""

    @property
    def num_looked(self) -> int:
        """Rows that are looked up for an example without a draw."""
        return 0

    def __post_init__(self) -> None:
        if not self.num_draws + self.num_looked:
            raise UserError("retrieval.num_draws: 0, and nothing else is retrieved; give 1 or more")
        if self.estimator == "rloo" and self.num_sets < 2:
            raise UserError(
                f"retrieval.num_sets: {self.num_sets} is too few for the estimator rloo, which "
                "compares sets; give at least 2"
            )
        if self.min_temperature > self.max_temperature:
            raise UserError(
                f"retrieval.min_temperature: {self.min_temperature} is above max_temperature "
                f"{self.max_temperature}; it must not be"
            )


@dataclass
class TrainConfig:
    """The optimiser, its schedule and how a run survives."""

    batch_size: PositiveInt = 1024
    """Examples a step, over all workers together."""
    learning_rate: PositiveFloat = 1e-3
    """Base learning rate of AdamW."""
    retrieval_lr_factor: PositiveFloat = 10.0
    """Learning rate of the query generator, in units of the base rate."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's weight decay."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm of a step."""
    warmup_fraction: ClosedUnitInterval = 0.1
    """Share of the steps over which the rate grows linearly; a cosine follows."""
    final_lr_fraction: ClosedUnitInterval = 0.1
    """Rate at the last step, in units of the base rate."""
    log_every: PositiveInt = 20
    """Steps between two logged points."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    max_failures: NonNegativeInt = 3
    """Times training restarts from its last checkpoint after a worker is lost."""


@dataclass
class EvaluateConfig:
    """Predictions and the scores made of them."""

    batch_size: PositiveInt = 512
    """Examples predicted at a time."""
    num_bootstrap: PositiveInt = 200
    """Bootstrap samples behind each 95 % interval."""


def _tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs."""

    uri: str = field(default_factory=_tracking_uri)
    """MLflow tracking URI, by default MLFLOW_TRACKING_URI, else an SQLite file, with artifacts
    beside it; SQLite serves one machine, several need a server (http://...)."""
    experiment: str = "amazon"
    """MLflow experiment that the runs belong to."""

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise UserError(f"tracking.experiment: {self.experiment!r} is no name; give one")
        refuse_credentials(self.uri, "tracking.uri", TRACKING_CREDENTIALS)


@dataclass
class RunSettings:
    """What every run of a task is told: what it is called, how it learns, where it is tracked."""

    name: str = "run"
    """Name of the run. The same name and storage_path continue an interrupted run."""
    storage_path: str = "runs"
    """Folder or URI for corpora made here, checkpoints and results."""
    seed: NonNegativeInt = 0
    """Seed of data, weights, order and draws."""
    num_workers: PositiveInt = 1
    """Ray Train workers."""
    min_workers: PositiveInt | None = None
    """Fewest workers that training goes on with when nodes are lost and do not come back, growing
    again when they do; by default it waits for all."""
    use_gpu: bool | None = None
    """Train on GPUs; by default if the cluster has one for each worker."""
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        refuse_credentials(self.storage_path, "storage_path")
        if self.seed > MAX_SEED:
            raise UserError(f"seed: {self.seed} is above {MAX_SEED}, the most that libraries take")
        folder = PurePosixPath(self.name)
        if not folder.parts or folder.is_absolute() or ".." in folder.parts:
            raise UserError(
                f"name: {self.name!r} would be a folder outside storage_path; give a name"
            )
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise UserError(
                f"min_workers: {self.min_workers} is above num_workers {self.num_workers}; it must "
                "not be"
            )
