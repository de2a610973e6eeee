"""What processes import before they do anything: seconds of each."""

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"


def imported(*args: str) -> set[str]:
    """Names of the modules that a Python of its own imports, all the way to its end."""
    command = [sys.executable, "-X", "importtime", *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize("job", ["train_amazon.py", "train_table.py"])
def test_options_are_explained_without_what_a_run_needs(job):
    assert not imported(str(JOBS / job), "--help") & {"torch", "mlflow", "ray.data", "ray.train"}


def test_tasks_that_make_rows_or_read_them_need_no_pytorch():
    modules = ["ingest.encode", "ingest.key_shards", "tasks.amazon.base", "tasks.table.reader"]
    found = imported("-c", "; ".join(f"import raclib.{name}" for name in modules))
    assert "pyarrow" in found and "torch" not in found
