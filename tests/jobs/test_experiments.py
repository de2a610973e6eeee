"""The paper's controlled experiments, short: fixed seeds, asserted ends."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

JOBS = Path(__file__).parents[2] / "jobs"
SHORT = ["--num_seeds", 1, "--train.batch_size", 256, "--train.learning_rate", 1e-3]
SHORT += ["--validation_examples", 500, "--test_examples", 2000, "--train.checkpoint_every", 200]


def runs_of(folder, experiment):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, {run.info.run_name: run for run in found}


@pytest.mark.slow
def test_queries_find_the_needle(run_here, new_store, tmp_path):
    new_store(tmp_path)
    sizes = ["--history_sizes", "[2, 4]", "--train.num_steps", 400, "--model.width", 128]
    code, output, errors = run_here("train_needle.py", *SHORT, *sizes)
    assert code == 0, errors[-3000:]
    assert "right row drawn" in output and "exploration:" in output
    client, runs = runs_of(tmp_path, "needle")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for size in (2, 4):
        child = runs[f"{size} rows, seed 0"]
        assert child.data.tags["mlflow.parentRunId"] == runs["needle"].info.run_id
        assert child.data.params["history_size"] == str(size)
        assert child.data.metrics["end/loss"] < 0.1
        assert child.data.metrics["end/hit_share"] > 0.95
    assert {"slope", "intercept", "r_squared"} <= runs["needle"].data.metrics.keys()
    artifacts = {item.path for item in client.list_artifacts(runs["needle"].info.run_id)}
    assert artifacts == {"curves.csv", "runs.csv", "curves.png", "exploration.png"}


@pytest.mark.slow
def test_both_classifiers_are_followed_past_the_times_they_were_trained_on(
    run_here, new_store, tmp_path
):
    new_store(tmp_path)
    sizes = ["--dim", 8, "--history_size", 16, "--retrieval.num_draws", 2, "--model.width", 64]
    steps = ["--train.num_steps", 150, "--num_bins", 10]
    code, output, errors = run_here("train_rotating.py", *SHORT, *sizes, *steps, "--num_recent", 4)
    assert code == 0, errors[-3000:]
    assert "later times" in output
    client, runs = runs_of(tmp_path, "rotating")
    assert set(runs) == {"rotating", "no context, seed 0", "retrieval, seed 0"}
    folder = client.download_artifacts(runs["rotating"].info.run_id, "", str(tmp_path))
    scores = pd.read_csv(Path(folder) / "over_time.csv")
    assert (scores.groupby("method")["time"].count() == 10).all()
    means = pd.read_csv(Path(folder) / "summary.csv").set_index("method")
    for method in ("no context", "retrieval"):
        assert means.loc[method, "before"] > 0.9
        assert means.loc[method, "after"] < means.loc[method, "before"] - 0.2
    assert means.loc["mean of the most recent rows", "after"] > 0.85
    assert (Path(folder) / "over_time.png").stat().st_size > 10_000


@pytest.mark.slow
def test_memory_is_measured_and_fitted(tmp_path, new_store):
    new_store(tmp_path)
    # Large enough that logits are most of the materialised draw's memory.
    sizes = ["--batch", 128, "--num_keys", 100_000, "--slots", 1, "--row_dim", 256]
    command = [sys.executable, JOBS / "sweep_memory.py", *map(str, sizes), "--factors", "[1, 2]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    _, runs = runs_of(tmp_path, "benchmarks")
    metrics = runs["sweep_memory"].data.metrics
    assert metrics["materialised/logits/bytes"] > 8
    assert metrics["streamed/logits/bytes"] < 1
    assert metrics["materialised/r_squared"] > 0.98
