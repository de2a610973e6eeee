"""The job for any table from end to end, on a Ray of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from raclib.run.cli import parse
from raclib.tasks.table.config import TableConfig

JOBS = Path(__file__).parents[2] / "jobs"
LINES = ("recent rates", "nearest neighbours", "no context", "refit", "refit, recent rows")
METHODS = {*LINES, "retrieval", "refit + retrieval"}
NUM = 3000


def drifting_table(num_classes: int = 2) -> pd.DataFrame:
    """Rows whose classes wander round two numbers; the last class first comes near the end."""
    rng = np.random.default_rng(0)
    share = np.sort(rng.random(NUM))
    x, y = rng.normal(size=(2, NUM))
    turn = (np.arctan2(y, x) / (2 * np.pi) + share + 1) % 1
    number = (turn * (num_classes - (share < 0.7) * (num_classes > 2))).astype(int)
    frame = pd.DataFrame(
        {
            "happened": pd.Timestamp("2020-01-01") + pd.to_timedelta((share * 700).round(3), "D"),
            "outcome": [f"class {value:02}" for value in number],
            "x": np.where(rng.random(NUM) < 0.05, np.nan, x),
            "y": y,
            "shop": rng.choice(np.array(["a", "b", "c"]), NUM),
            "user_id": rng.integers(0, 60, NUM),
        }
    )
    return frame.sample(frac=1, random_state=0)


def start(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """Runs the job in a folder; its Ray is its own, whatever cluster the tests use."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    paths = [str(JOBS.parent), environment.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, JOBS / "train_table.py", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=folder,
        check=False,
    )


def runs_of(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("tables").experiment_id])
    return client, {run.info.run_name: run for run in found}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_table_of_3000_rows_needs_no_other_flag_and_its_name_continues(tmp_path):
    drifting_table().to_csv(tmp_path / "claims.csv", index=False)
    args = ("--data", "claims.csv", "--time", "happened", "--label", "outcome")
    first = start(tmp_path, *args)
    assert first.returncode == 0, first.stderr[-3000:]
    plan = first.stdout[: first.stdout.index("before the cutoff")]
    for row in ("happened ignore the time", "outcome ignore the label", "x numeric numbers 5."):
        assert row in " ".join(plan.split())
    assert "user_id entity whole numbers, called an id" in " ".join(plan.split())
    table = first.stdout[first.stdout.rindex("after the cutoff") :]
    assert all(method in table for method in METHODS)
    client, runs = runs_of(tmp_path)
    assert set(runs) == METHODS | {"table"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    artifacts = {artifact.path for artifact in client.list_artifacts(runs["table"].info.run_id)}
    assert artifacts == {"before_and_after.csv", "over_time.csv", "over_time.png"}
    scores = {name: run.data.metrics for name, run in runs.items()}
    after = {name: scores[name]["after/auroc"] for name in METHODS}
    assert after["retrieval"] > after["no context"] + 0.1, "the drift was not followed"

    again = start(tmp_path, *args)
    assert again.returncode == 0, again.stderr[-3000:]
    assert table in again.stdout
    assert len(runs_of(tmp_path)[1]) == len(METHODS) + 1
    assert "base scores" not in again.stderr, "the base was fitted again"

    other = start(tmp_path, *args, "--train.num_epochs", 3)
    assert other.returncode == 1
    assert other.stderr.strip().splitlines()[-1].startswith("error: train.num_epochs: the run")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_forty_classes_of_which_one_comes_after_the_cutoff(tmp_path):
    drifting_table(40).to_parquet(tmp_path / "claims.parquet")
    args = ("--data", "claims.parquet", "--time", "happened", "--label", "outcome")
    found = start(tmp_path, *args, "--train.num_epochs", 1)
    assert found.returncode == 0, found.stderr[-3000:]
    assert "classes: 40" in found.stdout
    assert "classes first known after the cutoff: class 39" in found.stdout
    _, runs = runs_of(tmp_path)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert 0 <= runs["retrieval"].data.metrics["after/accuracy"] <= 1


def test_a_wrong_command_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as found:
        parse(TableConfig, None, ["--tme", "happened"])
    assert found.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")


def test_a_column_that_is_not_there_is_one_line_and_exit_code_1(tmp_path):
    drifting_table().head(50).to_csv(tmp_path / "claims.csv", index=False)
    found = start(tmp_path, "--data", "claims.csv", "--time", "when", "--label", "outcome")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("error: time: no column is called 'when'; there are happened, outcome")
    assert not list(tmp_path.glob("runs/table/settings.json")), "a refused start took the name"


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        parse(TableConfig, None, ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    options = re.findall(r" --([a-z_.]+) \S+(.*?)\(type: ", said)
    assert len(options) > 70
    for name, text in options:
        assert len(text.split()) >= 3, f"--{name} is not explained"
