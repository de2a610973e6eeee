"""The Makefile as newcomers use it, in a folder whose path needs quotes: train, then lint."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What is in no fresh clone, but for mypy's cache, which saves half a minute.
NOT_CLONED = shutil.ignore_patterns(
    *(".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    *("*.egg-info", "build", "dist", "runs", "mlruns", "mlartifacts", "mlflow.db*", "*.log"),
)
SHORT = "--generated.num_reviews 3000 --rows_per_shard 1000 --split.train_examples 600 "
SHORT += "--split.train_history 400 --split.validation_examples 100 --split.window 300 "
SHORT += "--split.validation_history 300 --split.examples_per_bin 20 --train.num_epochs 1"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the working tree with an environment that has what is installed here."""
    folder = tmp_path_factory.mktemp("make") / "ü x" / "raclib"
    shutil.copytree(ROOT, folder, ignore=NOT_CLONED)
    venv.create(folder / ".venv", symlinks=True)
    (site,) = (folder / ".venv").glob("lib/python*/site-packages")
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "installed.pth").write_text("\n".join([str(folder), *sorted(installed)]), "utf-8")
    for done in ("train", "test"):
        (folder / ".venv" / f"{done}.done").touch()
    return folder


def make(folder: Path, *args: str) -> str:
    """Runs `make`, which must succeed; returns what it prints."""
    left_out = ("RAY_ADDRESS", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "RACLIB_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        ["make", *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.slow
def test_training_and_then_lint_pass_where_the_path_needs_quotes(clone):
    printed = make(clone, "train", f"ARGS={SHORT}")
    assert "before the rule change" in printed and "after the rule change" in printed
    assert {"runs", "mlflow.db"} <= {path.name for path in clone.iterdir()}
    assert "All checks passed" in make(clone, "lint")
