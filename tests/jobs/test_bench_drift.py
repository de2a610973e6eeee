"""The bench over two generated tables: everything once, then nothing again."""

import re

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

NUM = 600
RECIPE = """
name: {name}
time_unit: row
encoder: {{dim: 8}}
split: {{window: 200, num_bins: 4, examples_per_bin: 40}}
train: {{num_epochs: 1, batch_size: 64}}
evaluate:
  num_bootstrap: 20
  num_refits: 2
  num_recent_rows: [60, 120]
"""


def write_table(folder, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, NUM))
    turn = np.linspace(0, 3, NUM) * seed
    label = np.where(x * np.cos(turn) + y * np.sin(turn) > 0, "yes", "no")
    frame = pd.DataFrame({"time": np.arange(NUM), "x": x, "y": y, "label": label})
    frame.to_parquet(folder / f"{name}.parquet")
    (folder / f"{name}.yaml").write_text(RECIPE.format(name=name))


def runs_of(folder):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("drift").experiment_id])
    return client, found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_is_done_once_and_continues_with_another_seed(run_here, new_store, tmp_path):
    for seed, name in enumerate(("still", "turning")):
        write_table(tmp_path, name, seed)
    new_store(tmp_path)
    tables = "{still.yaml: still.parquet, turning.yaml: turning.parquet}"
    args = ("--name", "b", "--tables", tables, "--override", "{retrieval.num_draws: 3}")
    code, printed, errors = run_here("bench_drift.py", *args, "--seeds", "[0]")
    assert code == 0, errors[-3000:]
    client, runs = runs_of(tmp_path)
    by_name = {run.info.run_name: run for run in runs}
    bench, table = by_name["b"], by_name["b-turning-0"]
    assert table.data.tags["mlflow.parentRunId"] == bench.info.run_id
    assert table.data.params["retrieval.num_draws"] == "3"
    assert {a.path for a in client.list_artifacts(bench.info.run_id)} == {"drift.csv", "drift.png"}
    scores = bench.data.metrics
    for name in ("recent rates", "nearest neighbours", "no context", "refit", "retrieval"):
        assert scores[f"still/{name}/log_loss"] > 0
    refits = [run for run in runs if run.info.run_name == "refit"]
    logged = sorted(run.data.metrics["after/log_loss"] for run in refits)
    kept = sorted(scores[f"{name}/refit/log_loss"] for name in ("still", "turning"))
    assert kept == pytest.approx(logged)
    assert re.search(r"^ +still +recent rates", printed, re.MULTILINE)

    code, again, errors = run_here("bench_drift.py", *args, "--seeds", "[0]")
    assert code == 0, errors[-3000:]
    assert printed[printed.index("after the cutoff: mean") :] in again
    assert "trains" not in again

    code, more, errors = run_here("bench_drift.py", *args, "--seeds", "[0, 1]")
    assert code == 0, errors[-3000:]
    assert re.findall(r"b-\S+(?=: trains)", more) == ["b-still-1", "b-turning-1"]

    other = (*args[:-1], "{retrieval.num_draws: 2}")
    code, _, errors = run_here("bench_drift.py", *other, "--seeds", "[0]")
    assert code == 1
    assert errors.strip().splitlines()[-1].startswith("error: retrieval.num_draws: the run")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "error: tables, reviews, seeds: nothing to run"),
        (
            ("--tables", "{a.yaml: a.csv, b.yaml: b.csv}"),
            "error: tables, reviews: still is the name of two recipes",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(args, said, run_here, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(name="still"))
    code, _, errors = run_here("bench_drift.py", *args)
    assert code == 1
    assert errors.strip().splitlines()[-1].startswith(said)
