"""The main job from end to end, first on a Ray of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

JOBS = Path(__file__).parents[2] / "jobs"
LINES = ("recent rates", "nearest neighbours", "no context", "refit", "refit, recent rows")
METHODS = {*LINES, "retrieval"}


def runs_of(tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("amazon").experiment_id])
    return client, {run.info.run_name: run for run in found}


@pytest.mark.slow
def test_the_job_compares_methods_and_continues_under_its_name(tiny_file, run_here, tmp_path):
    command = [sys.executable, JOBS / "train_amazon.py", "--config", tiny_file]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-3000:]
    for method in METHODS:
        assert method in first.stdout
    assert "before the rule change" in first.stdout
    assert "after the rule change" in first.stdout
    assert "step" in first.stdout + first.stderr, "no progress was shown"

    client, runs = runs_of(tmp_path)
    assert set(runs) == METHODS | {"tiny"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs["tiny"]
    assert parent.data.params["train.batch_size"] == "32"
    assert {"git_commit", "corpus_version", "host"} <= parent.data.tags.keys()
    assert parent.inputs.dataset_inputs[0].dataset.name == "tiny"
    artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"before_and_after.csv", "over_time.csv", "over_time.png"}
    for method in METHODS:
        assert runs[method].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert 0 <= runs[method].data.metrics["after/balanced_accuracy"] <= 1
    curve = client.get_metric_history(runs["retrieval"].info.run_id, "loss")
    assert [point.step for point in curve] == list(range(1, 17))

    code, printed, errors = run_here("train_amazon.py", "--config", tiny_file)
    assert code == 0, errors[-3000:]
    client, runs = runs_of(tmp_path)
    assert len(runs) == 7
    assert runs["tiny"].data.tags["resumed"] == "true"
    curve = client.get_metric_history(runs["retrieval"].info.run_id, "loss")
    assert len(curve) == 16, "a finished training was done again"
    table = first.stdout[first.stdout.index("before the rule change") :]
    assert table in printed

    code, _, errors = run_here("train_amazon.py", "--config", tiny_file, "--train.num_epochs", 3)
    assert code == 1
    assert errors.strip().splitlines()[-1].startswith("error: train.num_epochs: the run")


def test_a_history_that_is_too_small_is_one_line(tiny_file, run_here, tmp_path):
    code, _, errors = run_here(
        "train_amazon.py", "--config", tiny_file, "--split.train_history", 10_000
    )
    assert code == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: split: ")
    assert "make them smaller" in last
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("runs/tiny/settings.json")), "a refused start took the name"
