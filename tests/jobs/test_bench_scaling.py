"""The benchmark over nodes, servers and workers, at sizes that say nothing about speed."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

JOB = Path(__file__).parents[2] / "jobs" / "bench_scaling.py"
SIZES = ["--corpus_bytes", "3000000", "--batch_rows", "64", "--seconds", "0.2", "--epochs", "3"]


@pytest.mark.slow
def test_every_setting_is_a_run_and_a_row(tiny_file, tmp_path):
    command = [sys.executable, str(JOB), "--job", str(tiny_file), *SIZES, "--nodes", "[1, 2]"]
    command += ["--servers", "[2]", "--workers", "[1]", "--replicas", "2", "--mount", "hydrate"]
    command += ["--storage_path", str(tmp_path / "runs"), "--plan.replicas", "1"]
    command += ["--tracking.uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--plan_nodes", "[2, 4]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    settings = ["1 nodes, 2 servers, 1 workers", "2 nodes, 2 servers, 1 workers"]
    assert set(runs) == {"bench_scaling", *settings}
    folder = client.download_artifacts(runs["bench_scaling"].info.run_id, "", str(tmp_path))
    table = pd.read_csv(Path(folder) / "scaling.csv")
    assert list(table.nodes) == [1, 2] and (table[["step_s", "rows_per_s"]] > 0).all(axis=None)
    assert table["speedup/step"][1] == pytest.approx(table.step_s[0] / table.step_s[1])
    for setting, nodes, step_s in zip(settings, table.nodes, table.step_s, strict=True):
        assert runs[setting].data.params["nodes"] == str(nodes)
        assert runs[setting].data.metrics["step_s"] == pytest.approx(step_s)
    plan = pd.read_csv(Path(folder) / "plan.csv", index_col=0)
    # With a copy on one of two nodes every other row comes by a call.
    halves = 1 / table.called_rows_per_s.min() + 1 / table.rows_per_s.min()
    seconds = plan.loc["fetching a step at the measured rates (s)", "2 nodes"]
    assert seconds == pytest.approx(8192 / 2 / 2 * halves)
    assert (Path(folder) / "scaling.png").stat().st_size > 10_000


def test_a_plan_of_fewer_nodes_than_copies_is_refused_at_once(tmp_path):
    command = [sys.executable, str(JOB), "--plan_nodes", "[8, 1]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and not list(tmp_path.iterdir())
    assert done.stderr == "error: plan.replicas: 2 copies need as many nodes, not 1; lower it\n"
