"""What a job is tracked as: its folder's life, not its folder's place."""

import shutil

import pytest
from mlflow.tracking import MlflowClient

from raclib.run.config import RunSettings, TrackingConfig
from raclib.training.opening import open_job


@pytest.fixture
def start(ray_cluster, new_store, tmp_path):
    """Begins a job and one of its runs; gives both runs as MLflow has them."""
    tracking = TrackingConfig(new_store(tmp_path))

    def start(seed: int, folder: str = "runs"):
        config = RunSettings(storage_path=str(tmp_path / folder), seed=seed, tracking=tracking)
        opened, follow = open_job(config)
        with opened as job, follow(f"seed {seed}", config) as mine:
            mine.log({"loss": 1.0}, step=seed)
        client = MlflowClient(tracking.uri)
        return client.get_run(job.run_id), client.get_run(mine.run_id)

    return start


def ids(runs):
    return [run.info.run_id for run in runs]


def test_the_same_name_continues_also_with_another_seed(start):
    first, again, other = start(0), start(0), start(1)
    assert ids(again) == ids(first)
    assert all(run.data.tags["resumed"] == "true" for run in again)
    assert ids(other)[0] == ids(first)[0]
    assert ids(other)[1] != ids(first)[1]


def test_a_folder_that_was_removed_begins_another_run(start, tmp_path):
    first = start(0)
    shutil.rmtree(tmp_path / "runs")
    second = start(1)
    assert not set(ids(first)) & set(ids(second))
    job, mine = second
    assert job.data.params["seed"] == "1"
    assert "resumed" not in job.data.tags | mine.data.tags
    assert mine.data.tags["mlflow.parentRunId"] == job.info.run_id


def test_folders_of_two_machines_of_one_name_have_runs_of_their_own(start, tmp_path):
    first = start(0)
    (tmp_path / "runs").rename(tmp_path / "other machine")
    second = start(0)
    assert not set(ids(first)) & set(ids(second))
