#!/usr/bin/env python3
"""One table over several finished runs of the same task, for example over seeds."""

from dataclasses import dataclass, field

import mlflow
import pandas as pd

from raclib.errors import UserError
from raclib.evaluation.report import HEADINGS, print_spread
from raclib.run.cli import main
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute


@dataclass
class SummarizeConfig:
    """Which runs to put together."""

    names: list[str]
    """Names of finished runs of jobs/train_amazon.py."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def run(config: SummarizeConfig) -> None:
    """Prints mean, lowest and highest score of every method over the runs."""
    mlflow.set_tracking_uri(absolute(config.tracking.uri))
    found = mlflow.search_runs(experiment_names=[config.tracking.experiment])
    parents = found[found["tags.mlflow.runName"].isin(config.names)]
    if missing := set(config.names) - set(parents["tags.mlflow.runName"]):
        raise UserError(
            f"names: {', '.join(sorted(missing))}: no such run in experiment "
            f"{config.tracking.experiment!r} of {config.tracking.uri}; see the MLflow UI for names"
        )
    children = found[found["tags.mlflow.parentRunId"].isin(parents["run_id"])]
    for period in ("before", "after"):
        columns = {f"metrics.{period}/{name}": name for name in HEADINGS}
        # Runs of long ago lack a score that came later.
        scores = children.reindex(columns=["tags.mlflow.runName", *columns]).rename(columns=columns)
        print_spread(
            scores.rename(columns={"tags.mlflow.runName": "method"}), _title(period, parents)
        )


def _title(period: str, parents: pd.DataFrame) -> str:
    return f"{period} the rule change: mean (lowest, highest) of {len(parents)} runs"


if __name__ == "__main__":
    main(run, SummarizeConfig, None)
