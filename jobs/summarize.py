#!/usr/bin/env python3
"""One table over several finished runs of the same task, for example over seeds."""

from dataclasses import dataclass, field, replace

import mlflow
import pandas as pd

from raclib.errors import UserError
from raclib.evaluation.report import HEADINGS, print_spread
from raclib.run.cli import main
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute
from raclib.run.store import find_experiment
from raclib.run.tracking import using

NAME, PARENT = "tags.mlflow.runName", "tags.mlflow.parentRunId"
PERIODS = ("before", "after")


@dataclass
class SummarizeConfig:
    """Which runs to put together."""

    names: list[str]
    """Names of finished runs of jobs/train_amazon.py or jobs/train_table.py; of several runs of one
    name the newest counts."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def run(config: SummarizeConfig) -> None:
    """Prints mean, lowest and highest score of every method over the runs."""
    tracking = replace(config.tracking, uri=absolute(config.tracking.uri))
    found = read_runs(tracking)
    newest = found[found[NAME].isin(config.names)].sort_values("start_time")
    runs = newest.drop_duplicates(NAME, keep="last").set_index("run_id")[NAME]
    if missing := set(config.names) - set(runs):
        raise UserError(
            f"names: {', '.join(sorted(missing))}: no such run in experiment "
            f"{tracking.experiment!r} of {tracking.uri}; see the MLflow UI for names"
        )
    scores = {period: read_scores(found, runs.index, period) for period in PERIODS}
    scored = {parent for table in scores.values() for parent in table[PARENT]}
    without = ", ".join(sorted(runs.drop(list(scored))))
    if not scored:
        raise UserError(f"names: {without}: no scores yet; wait until the jobs have ended")
    if without:
        print(f"{len(scored)} of {len(runs)} runs have scores; without: {without}")
    for period, table in scores.items():
        if count := table[PARENT].nunique():
            of = f"{count} runs" if count > 1 else "1 run"
            title = f"{period} the rule change: mean (lowest, highest) of {of}"
            print_spread(table.rename(columns={NAME: "method"}), title)


def read_runs(tracking: TrackingConfig) -> pd.DataFrame:
    """The runs of an experiment, as `mlflow.search_runs` has them; none if it is not there."""
    found = pd.DataFrame()
    if experiment := find_experiment(tracking):
        with using(tracking.uri):
            found = mlflow.search_runs([experiment.experiment_id])
    columns = dict.fromkeys([*found.columns, "run_id", "start_time", NAME, PARENT])
    return found.reindex(columns=list(columns))


def read_scores(found: pd.DataFrame, parents: pd.Index, period: str) -> pd.DataFrame:
    """A row for each nested run with scores of a period, a column for each of `HEADINGS`."""
    columns = {f"metrics.{period}/{name}": name for name in HEADINGS}
    # Runs of long ago lack a score that came later.
    children = found[found[PARENT].isin(parents)].reindex(columns=[NAME, PARENT, *columns])
    return children.rename(columns=columns).dropna(subset=list(HEADINGS), how="all")


if __name__ == "__main__":
    main(run, SummarizeConfig, None)
