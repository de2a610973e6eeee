#!/usr/bin/env python3
"""Measures a training step by where the rows it retrieves come from; logged to MLflow."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from jsonargparse.typing import PositiveInt

from raclib.bench import step
from raclib.bench.draw import device_name
from raclib.bench.reviews import Case, make_review_corpus
from raclib.errors import UserError
from raclib.run.cli import main
from raclib.run.cluster import connect
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute
from raclib.run.store import open_store
from raclib.run.tracking import RunLogger, environment_tags, flatten, track

matplotlib.use("Agg")


@dataclass
class StepBenchConfig:
    """Sizes of the step and of the corpora its rows come from: full rows of made-up reviews."""

    rows: list[PositiveInt] = field(default_factory=lambda: [50_000, 1_000_000])
    """Rows of a corpus."""
    window: PositiveInt = 25_000
    """Rows before an example among which its rows are drawn."""
    batch: PositiveInt = 128
    """Examples a step."""
    slots: PositiveInt = 4
    """Rows drawn for an example, and as many greedy ones for the baseline."""
    row_dim: PositiveInt = 1024
    """Numbers of a row, float16."""
    key_dim: PositiveInt = 64
    """Numbers of a key."""
    steps: PositiveInt = 60
    """Steps of each way that are measured."""
    folder: str = "runs/bench"
    """Folder for the corpora; those made by an earlier run are used again."""
    remote: str | None = None
    """fsspec URI of an object store to get rows from too, e.g. s3://bucket/bench."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )

    def __post_init__(self) -> None:
        if not self.rows or min(self.rows) <= self.window:
            raise UserError(
                f"rows: {self.rows} must be above the window of {self.window}; lower --window"
            )


def run(config: StepBenchConfig) -> None:
    """Measures every way on every corpus; prints and logs the table."""
    tracking = open_store(config.tracking)
    connect(1)
    with ExitStack() as stack:
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        steppers = {}
        for num_rows in config.rows:
            steppers |= start(config, num_rows, cache, stack)
        table = step.measure(steppers, config.steps)
    print(table.to_string(index=False, float_format="%.3g"))
    tags = {"device": device_name("cpu"), "threads": str(torch.get_num_threads())}
    what = flatten(config), {**tags, **environment_tags()}
    with track(tracking, "bench_step", None, *what) as log:
        keep(log, table)


def start(
    config: StepBenchConfig, num_rows: int, cache: Path, stack: ExitStack
) -> dict[tuple[int, str], step.Stepper]:
    """A model to train for each way of getting at the rows of one corpus."""
    name = f"reviews{config.row_dim}x{config.key_dim}-{num_rows}"
    sizes = num_rows, config.row_dim, config.key_dim
    corpus = make_review_corpus(f"{absolute(config.folder)}/{name}", *sizes)
    ways = step.local_ways(corpus, stack)
    if config.remote:
        far = make_review_corpus(f"{config.remote}/{name}", *sizes)
        ways |= step.remote_ways(far, cache / name, stack)
    step.read_once(ways, num_rows)
    case = Case(config.batch, config.window, config.slots, config.key_dim, config.row_dim)
    num_steps = step.WARM_UP + config.steps
    examples = step.Examples.draw(corpus, case, ways[step.MAP], num_steps)
    return {(num_rows, way): step.Stepper(examples, fetch) for way, fetch in ways.items()}


def keep(log: RunLogger, table: pd.DataFrame) -> None:
    """Logs the table, as numbers too, and a figure."""
    for item in table.to_dict("records"):
        name = f"{item['way']}/{item['rows']}"
        log.log({f"{name}/{key}": item[key] for key in ("step", "fetch", "to_array", "to_least")})
    log.log_table(table, "step")
    log.log_figure(step.plot(table), "step")


if __name__ == "__main__":
    main(run, StepBenchConfig, None)
