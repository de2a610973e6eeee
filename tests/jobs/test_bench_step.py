"""The benchmark of a step, at sizes that say nothing about speed."""

from pathlib import Path

import mlflow
import pandas as pd

SIZES = ["--rows", "[400, 900]", "--window", 200, "--batch", 8, "--slots", 2, "--steps", 2]
SIZES += ["--row_dim", 32, "--key_dim", 8]


def test_every_way_does_the_same_steps_and_is_logged(run_here, new_store, tmp_path):
    store = new_store(tmp_path)
    # Another folder stands for an object store: servers copy from it, and read blocks of it.
    places = ["--folder", tmp_path / "here", "--remote", tmp_path / "there"]
    code, _, errors = run_here("bench_step.py", *SIZES, *places, "--tracking.uri", store)
    assert code == 0, errors
    client = mlflow.MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED" and logged.data.tags["device"] == "cpu"
    folder = Path(client.download_artifacts(logged.info.run_id, "", str(tmp_path)))
    assert (folder / "step.png").stat().st_size > 5_000
    table = pd.read_csv(folder / "step.csv")
    ways = ["array", "map", "actors", "hydrated", "ranges"]
    assert list(zip(table.rows, table.way, strict=True)) == [
        (rows, way) for rows in (400, 900) for way in ways
    ]
    assert (table[["draw", "fetch", "backward"]].sum(axis=1) < table.step).all()
    assert (table.groupby("rows").loss.nunique() == 1).all(), "ways led to other rows"
    first, last = table.iloc[0], table.iloc[-1]
    assert last.to_array == table.step[9] / table.step[5] and first.to_array == 1
    assert last.to_least == table.step[9] / table.step[4]
    assert logged.data.metrics["ranges/900/to_array"] == last.to_array


def test_a_corpus_below_the_window_is_refused(run_alone):
    code, _, errors = run_alone("bench_step.py", "--rows", "[100]", "--window", 100)
    assert code == 2 and "rows: [100] must be above the window of 100" in errors
