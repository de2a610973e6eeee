"""Every job asks the store of runs before it does anything."""

import pytest

ALL = ["train_amazon", "train_table", "train_needle", "train_rotating", "sweep_memory", "summarize"]
ALL += ["bench_drift", "bench_scaling", "bench_draw", "bench_fetch", "bench_ingest", "bench_step"]


@pytest.mark.parametrize("job", ALL)
def test_a_store_that_does_not_answer_ends_a_job_before_any_work(run_alone, tmp_path, job):
    args = ["--tracking.uri", "ftp://host/runs"]
    if job == "summarize":
        args += ["--names", "[a]"]
    if job == "train_table":
        args += ["--data", "a.csv", "--time", "t", "--label", "y"]
    if job == "bench_drift":
        (tmp_path / "a.yaml").write_text("{name: a, time: t, label: y}")
        args += ["--tables", "{a.yaml: a.csv}"]
    code, _, errors = run_alone(f"{job}.py", *args)
    assert code == 1
    assert errors == (
        "error: tracking.uri: ftp://host/runs: MLflow knows no such kind of store; give another "
        "--tracking.uri, such as sqlite:///mlflow.db or http://HOST:5000\n"
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"a.yaml"}


@pytest.mark.parametrize(("job", "code"), [("train_amazon", 2), ("bench_draw", 1)])
def test_an_experiment_without_a_name_is_one_line(run_alone, job, code):
    found, _, errors = run_alone(f"{job}.py", "--tracking.experiment", "")
    assert found == code
    assert errors.count("\n") == 1
    assert "tracking.experiment: '' is no name; give one" in errors
