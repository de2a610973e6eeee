"""What jobs log, read by the tests that disturb them."""

from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
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
        return {
            run.info.run_name: run
            for run in runs
            if run.info.run_id in mine or run.data.tags.get("mlflow.parentRunId") in mine
        }

    def steps(self, job: str) -> list[tuple[int, float]]:
        """Logged steps with retrieval and their times in seconds, in the order they were logged."""
        run = self.find(job).get("retrieval")
        if run is None:
            return []
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        points = client.get_metric_history(run.info.run_id, "loss")
        return sorted(((p.step, p.timestamp / 1000) for p in points), key=lambda point: point[1])

    def curve(self, job: str, metric: str) -> dict[int, float]:
        """A metric of the classifier with retrieval, by step."""
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        points = client.get_metric_history(self.find(job)["retrieval"].info.run_id, metric)
        return {point.step: point.value for point in points}
