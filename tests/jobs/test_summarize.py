"""Several finished runs in one table."""

import re

import pytest

from raclib.run.config import TrackingConfig
from raclib.run.tracking import track

OLD = {"accuracy": 0.9, "balanced_accuracy": 0.8, "auroc": 0.7, "log_loss": 0.6}
OLD |= {"calibration_error": 0.1}


@pytest.fixture
def config(new_store, tmp_path):
    return TrackingConfig(new_store(tmp_path))


@pytest.fixture
def summarize(config, run_alone):
    """Runs the job over runs of these names."""

    def run(*names: str) -> tuple[int, str, str]:
        listed = f"[{', '.join(names)}]"
        return run_alone("summarize.py", "--names", listed, "--tracking.uri", config.uri)

    return run


def follow(config, name, scores):
    with track(config, name, None, {}, {}), track(config, "retrieval", None, {}, {}) as child:
        for period in ("before", "after"):
            child.log({f"{period}/{score}": value for score, value in scores.items()})


@pytest.mark.parametrize("newer", [{}, {"average_precision": 0.5}])
def test_runs_are_put_together_whatever_scores_they_have(config, summarize, newer):
    follow(config, "first", OLD)
    follow(config, "second", {**OLD, "accuracy": 0.8, **newer})
    code, printed, errors = summarize("first", "second")
    assert code == 0, errors
    assert printed.count("0.850") == printed.count("(0.800-0.900)") == 2
    assert printed.count("avg precision") == (2 if newer else 0)
    assert printed.count("of 2 runs") == 2
    assert "nan" not in printed


def test_runs_without_scores_are_named_and_not_counted(config, summarize):
    follow(config, "first", OLD)
    follow(config, "second", {})
    with track(config, "third", None, {}, {}):
        pass
    code, printed, errors = summarize("first", "second", "third")
    assert code == 0, errors
    assert printed.startswith("1 of 3 runs have scores; without: second, third\n")
    assert len(re.findall(r"mean \(lowest, highest\) of 1 run\b", printed)) == 2


def test_the_newest_run_of_a_name_counts(config, summarize):
    follow(config, "first", OLD)
    follow(config, "first", {**OLD, "accuracy": 0.8})
    code, printed, errors = summarize("first")
    assert code == 0, errors
    assert "0.900" not in printed


def test_no_run_with_scores_is_one_line(config, summarize):
    with track(config, "first", None, {}, {}):
        pass
    code, _, errors = summarize("first")
    assert code == 1
    assert errors == "error: names: first: no scores yet; wait until the jobs have ended\n"


def test_a_run_that_is_not_there_is_one_line_and_makes_no_store(summarize, tmp_path):
    (tmp_path / "mlflow.db").unlink()
    code, _, errors = summarize("first", "second")
    assert code == 1
    assert errors.startswith(
        "error: names: first, second: no such run in experiment 'amazon' of sqlite:///"
    )
    assert not list(tmp_path.iterdir())
