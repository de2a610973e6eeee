"""The job that scores a table, killed in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raclib import HistoryClassifier
from raclib.serving.score import ScoreConfig, score

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(scope="module")
def run(ray_cluster, tmp_path_factory):
    """The folder of a trained run, and of the rows that it shall score."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(2000), "h"),
            "a": rng.normal(size=2000),
            "b": rng.normal(size=2000),
        }
    )
    table["label"] = (table["a"] + 0.3 * rng.normal(size=2000) > 0).astype(int)
    told = {"train.batch_size": 64, "split.num_bins": 2, "split.examples_per_bin": 20}
    made = HistoryClassifier(num_epochs=1, storage_path=str(folder), config=told).fit(table)
    table.to_parquet(folder / "rows.parquet")
    return f"{folder}/{made.config_.name}", str(folder / "rows.parquet")


def start(*args: object) -> subprocess.Popen:
    """Starts the job; its Ray is its own, whatever cluster the tests use."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    paths = [str(JOBS.parent), environment.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, JOBS / "predict.py", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_that_is_killed_continues(run, tmp_path):
    out = tmp_path / "scored.parquet"
    what = {"run": run[0], "data": run[1], "evidence": 4, "rows_per_part": 10}
    told = ["--out", out, *(word for name, value in what.items() for word in (f"--{name}", value))]
    parts = Path(f"{out}.staging", "parts")

    def written() -> dict[str, int]:
        found = parts.glob("*.parquet") if parts.exists() else []
        return {path.name: path.stat().st_mtime_ns for path in found}

    job = start(*told)
    while len(written()) < 5:
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    left = written()
    assert 5 <= len(left) < 200 and not out.exists()

    again = start(*told)
    while not out.exists():
        assert again.poll() is None or out.exists(), again.communicate()
        kept = {name: changed for name, changed in written().items() if name in left}
        assert not kept or kept.items() <= left.items(), "a part was scored again"
        time.sleep(0.01)
    said, errors = again.communicate()
    assert again.returncode == 0, errors
    assert said.startswith("2,000 rows scored")
    whole = ScoreConfig(run[0], run[1], str(tmp_path / "whole.parquet"), 4, rows_per_part=10)
    score(whole)
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole.out))


def test_a_mistake_is_one_line(run_alone):
    code, _, errors = run_alone("predict.py", "--run", "none", "--data", "x", "--out", "y")
    assert code == 1
    assert errors.strip().startswith("error: run: ") and len(errors.strip().splitlines()) == 1
    code, _, errors = run_alone("predict.py", "--run", "none")
    assert code == 2 and len(errors.strip().splitlines()) == 1


def test_help_explains_every_option(run_alone):
    code, said, _ = run_alone("predict.py", "--help")
    assert code == 0
    for word in ("--run", "--data", "--out", "--evidence", "--keep", "--version", "--num_workers"):
        assert word in said
