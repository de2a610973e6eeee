"""Several finished runs in one table."""

import subprocess
import sys
from pathlib import Path

import pytest

from raclib.run.config import TrackingConfig
from raclib.run.tracking import track

JOB = Path(__file__).parents[2] / "jobs" / "summarize.py"
OLD = {"accuracy": 0.9, "balanced_accuracy": 0.8, "auroc": 0.7, "log_loss": 0.6}
OLD |= {"calibration_error": 0.1}


def follow(config, name, scores):
    with (
        track(config, name, name, {}, {}),
        track(config, "retrieval", f"{name}/retrieval", {}, {}) as child,
    ):
        for period in ("before", "after"):
            child.log({f"{period}/{score}": value for score, value in scores.items()})


@pytest.mark.parametrize("newer", [{}, {"average_precision": 0.5}])
def test_runs_are_put_together_whatever_scores_they_have(tmp_path, newer):
    config = TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="amazon")
    follow(config, "first", OLD)
    follow(config, "second", {**OLD, "accuracy": 0.8, **newer})
    arguments = ["--names", "[first, second]", "--tracking.uri", config.uri]
    done = subprocess.run(
        [sys.executable, JOB, *arguments, "--tracking.experiment", config.experiment],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("0.850") == done.stdout.count("(0.800-0.900)") == 2
    assert done.stdout.count("avg precision") == (2 if newer else 0)
    assert "nan" not in done.stdout
