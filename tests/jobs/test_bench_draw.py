"""The benchmark of draws, at sizes that say nothing about speed."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from raclib.retrieval.product import HAS_ONEDNN

JOB = Path(__file__).parents[2] / "jobs" / "bench_draw.py"


def run(folder, *args):
    command = [sys.executable, str(JOB), "--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    return subprocess.run([*command, *args], cwd=folder, capture_output=True, text=True)


def test_every_contender_is_measured_and_logged(tmp_path):
    sizes = ["--num_keys", "[2000, 5000]", "--batch", "[4]", "--slots", "[3]", "--rounds", "1"]
    others = ["--dtypes", "[float32, int8]", "--nearest", "[5]", "--unit_keys", "true"]
    done = run(tmp_path, *sizes, *others)
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED" and logged.data.tags["device"] == "cpu"
    folder = Path(client.download_artifacts(logged.info.run_id, "", str(tmp_path)))
    assert (folder / "draw.png").stat().st_size > 10_000
    table = pd.read_csv(folder / "draw.csv")
    assert (table.seconds > 0).all()
    for (_, dtype), case in table.groupby(["num_keys", "dtype"]):
        names = {"one product", "two products", "draw", "draw and gradient", "multinomial"}
        names |= {"one product by oneDNN", "two products by oneDNN"} if HAS_ONEDNN else set()
        names |= {"Gumbel-max", "greedy rows", "nearest 5"}
        names |= {"FAISS flat 5"} if dtype == "float32" else set()
        assert set(case.contender) == names
        seconds = case.set_index("contender").seconds
        ratios = case.set_index("contender").ratio
        assert ratios["draw"] == pytest.approx(seconds["draw"] / seconds["one product"])
        both = seconds["draw and gradient"] / seconds["two products"]
        assert ratios["draw and gradient"] == pytest.approx(both)
        rival = "FAISS flat 5" if dtype == "float32" else "one product"
        assert ratios["nearest 5"] == pytest.approx(seconds["nearest 5"] / seconds[rival])
        assert f"draw/K{case.num_keys.iloc[0]}/B4x3/{dtype}/seconds" in logged.data.metrics


def test_a_missing_gpu_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run(tmp_path, "--device", "cuda")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: device is cuda but no GPU")
