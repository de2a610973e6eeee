"""Jobs and the MLflow runs they log to, read by the tests that disturb them."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hosts import wait_until
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient


@dataclass
class Runs:
    """The MLflow runs of a folder."""

    folder: Path

    def find(self, job: str) -> dict[str, Run]:
        """The job's runs by name: its own and those of its methods."""
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("amazon")
        if experiment is None:
            return {}
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        mine = {run.info.run_id for run in runs if run.info.run_name == job}
        runs = [r for r in runs if {r.info.run_id, r.data.tags.get("mlflow.parentRunId")} & mine]
        found = {run.info.run_name: run for run in runs}
        assert len(found) == len(runs), "a continued job goes on in the runs that it has"
        return found

    def history(self, job: str, metric: str) -> list[Metric]:
        """A metric of the classifier with retrieval, in the order it was logged."""
        run = self.find(job).get("retrieval")
        if run is None:
            return []
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        points = client.get_metric_history(run.info.run_id, metric)
        return sorted(points, key=lambda point: point.timestamp)


@dataclass
class Job:
    """A submitted job: its command, which ends when the job does, what it prints and logs."""

    name: str
    process: subprocess.Popen
    log: Path
    runs: Runs

    def steps(self) -> list[tuple[int, float]]:
        """Logged steps and their times in seconds, in the order they were logged."""
        points = self.runs.history(self.name, "loss")
        return [(point.step, point.timestamp / 1000) for point in points]

    def wait_for_steps(self, count: int, seconds: float = 200) -> None:
        """Waits until so many more are logged."""
        wanted = len(self.steps()) + count
        self.wait_until(lambda: len(self.steps()) >= wanted, seconds)

    def wait_until(self, done: Callable[[], object], seconds: float) -> None:
        """Waits until `done()` is true; the job must not end before."""
        wait_until(lambda: done() or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.log.read_text()[-4000:]

    def finish(self, code: int = 0, seconds: float = 350) -> str:
        """Waits for the end and gives what was printed."""
        found = self.process.wait(seconds)
        output = self.log.read_text()
        assert found == code, output[-4000:]
        return output
