"""Runs in MLflow: parameters, curves, tables, figures, models."""

import dataclasses
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, SupportsFloat

import mlflow
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, Metric, Run, RunStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.time import get_current_time_millis

from raclib.corpus.urls import without_secrets
from raclib.run.config import TrackingConfig
from raclib.run.store import open_experiment, telling

if TYPE_CHECKING:  # half a second of every worker's start
    from matplotlib.figure import Figure

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow").setLevel(logging.WARNING)
RUN_TAG = "raclib.run"


@dataclasses.dataclass(frozen=True)
class RunLogger:
    """Logs to one MLflow run from any process.

    Attributes:
        uri: Tracking URI.
        run_id: MLflow's id of the run.
        name: Name shown to people.
    """

    uri: str
    run_id: str
    name: str

    def log(self, metrics: Mapping[str, SupportsFloat], step: int = 0, rank: int = 0) -> None:
        """Logs numbers (or one-element tensors) at a step; only rank 0 does."""
        if rank == 0:
            self.log_steps({step: metrics})

    def log_steps(self, metrics: Mapping[int, Mapping[str, SupportsFloat]]) -> None:
        """Logs the numbers of several steps, in the time of one."""
        now = get_current_time_millis()
        points = [
            Metric(name, float(value), now, step)
            for step, found in metrics.items()
            for name, value in found.items()
        ]
        with telling(self.uri):
            MlflowClient(self.uri).log_batch(self.run_id, metrics=points)

    def curve(self, metric: str) -> pd.Series:
        """A metric's values by step; where a resumed run did a step again, the last one."""
        with telling(self.uri):
            points = MlflowClient(self.uri).get_metric_history(self.run_id, metric)
        rows = [(point.step, point.timestamp, point.value) for point in points]
        found = pd.DataFrame(rows, columns=["step", "logged", metric])
        return found.sort_values(["step", "logged"]).groupby("step")[metric].last()

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Keeps a figure as a PNG artifact."""
        with telling(self.uri):
            MlflowClient(self.uri).log_figure(self.run_id, figure, f"{name}.png")

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Keeps a table as a CSV artifact."""
        with telling(self.uri):
            MlflowClient(self.uri).log_text(self.run_id, table.to_csv(index=False), f"{name}.csv")

    def read_table(self, name: str) -> pd.DataFrame:
        """A table that was kept by `log_table`."""
        with TemporaryDirectory() as folder, telling(self.uri):
            client = MlflowClient(self.uri)
            return pd.read_csv(client.download_artifacts(self.run_id, f"{name}.csv", folder))

    def log_dataset(self, uri: str, version: str, num_rows: int) -> None:
        """Notes which corpus the run is about."""
        dataset = Dataset(
            name=uri.rstrip("/").rsplit("/", 1)[-1],
            digest=f"version {version}",
            source_type="corpus",
            source=json.dumps({"uri": uri, "version": version}),
            profile=json.dumps({"num_rows": num_rows}),
        )
        with telling(self.uri):
            MlflowClient(self.uri).log_inputs(self.run_id, [DatasetInput(dataset, [])])


@contextmanager
def track(
    config: TrackingConfig,
    name: str,
    key: str | None,
    params: Mapping[str, object],
    tags: Mapping[str, str],
) -> Iterator[RunLogger]:
    """An MLflow run around a `with` block; nested in the run that is open, if one is.

    A run of the same key is continued and marked `resumed`. The run ends FINISHED, KILLED after
    Ctrl-C or SIGTERM's `SystemExit`, else FAILED.

    Args:
        config: Server and experiment.
        name: Name of the run.
        key: What makes a later run the continuation of this one; None if none ever is.
        params: Parameters, logged at the first start.
        tags: Tags.

    Raises:
        UserError: if the store does not answer; see `open_experiment`.
    """
    with using(config.uri):
        with telling(config.uri):
            run = _begin(config, name, key, params, tags)
        status = RunStatus.FAILED
        try:
            yield RunLogger(config.uri, run.info.run_id, name)
            status = RunStatus.FINISHED
        except (KeyboardInterrupt, SystemExit):
            status = RunStatus.KILLED
            raise
        finally:
            with telling(config.uri):
                mlflow.end_run(RunStatus.to_string(status))


def _begin(
    config: TrackingConfig,
    name: str,
    key: str | None,
    params: Mapping[str, object],
    tags: Mapping[str, str],
) -> mlflow.ActiveRun:
    """Opens the run of a key, or a new one."""
    experiment = open_experiment(config)
    found = _search(config, experiment, key) if key else []
    resumed = {"resumed": "true"} if found else {}
    keyed = {RUN_TAG: key} if key else {}
    run = mlflow.start_run(
        run_id=found[0].info.run_id if found else None,
        experiment_id=experiment,
        run_name=name,
        nested=mlflow.active_run() is not None,
        tags={**keyed, **tags, **resumed},
        log_system_metrics=True,
    )
    if not found:
        mlflow.log_params(dict(params))
    return run


def find_finished(config: TrackingConfig, key: str) -> RunLogger | None:
    """The run of a key if it has ended well."""
    with telling(config.uri):
        found = _search(config, open_experiment(config), key)
    for run in found:
        if run.info.status == RunStatus.to_string(RunStatus.FINISHED):
            return RunLogger(config.uri, run.info.run_id, run.info.run_name)
    return None


def _search(config: TrackingConfig, experiment: str, key: str) -> list[Run]:
    """The run of a key in the experiment of that id, or none."""
    quote = '"' if "'" in key else "'"  # MLflow's filters have no escapes
    return MlflowClient(config.uri).search_runs(
        [experiment], f"tags.`{RUN_TAG}` = {quote}{key}{quote}", max_results=1
    )


@contextmanager
def using(uri: str) -> Iterator[None]:
    """Makes it MLflow's store for a block; whoever uses MLflow beside keeps his own."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None: it was not set


def flatten(config: object, prefix: str = "") -> dict[str, object]:
    """A nested dataclass as `{"train.batch_size": 256, ...}`; its URLs without what is secret."""
    flat: dict[str, object] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = without_secrets(value)
    return flat


def environment_tags() -> dict[str, str]:
    """The commit this code is of (where it is a git checkout) and the machine's name."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except FileNotFoundError:  # images often come without git
        found = ""
    return {"host": platform.node(), "git_commit": found or "unknown"}
