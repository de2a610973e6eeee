"""The store of runs: where it lies, what is refused before work starts, jobs that come at once."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from raclib.corpus import retry
from raclib.errors import PassingError, UserError
from raclib.run import store
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute, sqlite_uri
from raclib.run.store import FEW_RETRIES, OTHERS, open_store, telling
from raclib.run.tracking import RunLogger, track

ODD = "O'Brien ü #[1] %41 ?x"
JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def config(new_store, tmp_path) -> TrackingConfig:
    return TrackingConfig(new_store(tmp_path))


def refused(config: TrackingConfig) -> str:
    with pytest.raises(UserError) as caught:
        open_store(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b", ODD])
def test_runs_and_artifacts_lie_in_the_folder_whatever_it_is_called(
    new_store, tmp_path, monkeypatch, name
):
    folder = tmp_path / name
    folder.mkdir()
    new_store(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    uri = absolute("sqlite:///mlflow.db")
    with track(TrackingConfig(uri), "x", f"{folder}/x", {}, {}) as logger:
        logger.log_table(pd.DataFrame({"a": [1]}), "table")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in folder.iterdir()} == {
        "mlflow.db",
        "mlflow.db.lock",
        "mlartifacts",
    }
    assert logger.read_table("table").a.tolist() == [1]
    with track(TrackingConfig(uri), "x", f"{folder}/x", {}, {}) as again:
        pass
    assert again.run_id == logger.run_id


def test_a_question_mark_in_a_uri_is_refused():
    message = refused(TrackingConfig("sqlite:////data/a?b/mlflow.db"))
    assert message.endswith("/a?b/mlflow.db: write the ? of a path as %3F, and its % as %25")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (
            "http://127.0.0.1:1",
            "no MLflow server answers, [Errno 111] Connection refused; start it",
        ),
        (
            "postgresql+a+b://host",
            "Invalid database URI: 'postgresql+a+b://host'. Please refer to "
            "https://mlflow.org/docs/latest/tracking.html#storage for format specifications.",
        ),
        ("ftp://host/runs", "MLflow knows no such kind of store"),
        ("sqllite:///mlflow.db", "MLflow knows no such kind of store"),
        ("mysql+nodriver://host/runs", "Can't load plugin: sqlalchemy.dialects:mysql.nodriver"),
        ("mssql://host/runs", "the Python module pyodbc is missing; install it"),
        ("sqlite:///{folder}/notes.txt", "file is not a database"),
        ("sqlite:///{folder}/notes.txt/a.db", "[Errno 17] File exists: '{folder}/notes.txt'"),
    ],
)
def test_a_store_that_does_not_answer_is_one_line(uri, reason, tmp_path):
    (tmp_path / "notes.txt").write_text("notes " * 200)
    uri, reason = uri.format(folder=tmp_path), reason.format(folder=tmp_path)
    assert refused(TrackingConfig(uri)) == f"tracking.uri: {uri}: {reason}; {OTHERS}"


@pytest.fixture(params=["accepts", "accepts no more"])
def silent(request):
    """The port of a server that never answers, or does not even take a connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = []
        while request.param == "accepts no more":
            waiting.append(socket.socket())
            waiting[-1].settimeout(0.2)
            try:
                waiting[-1].connect(server.getsockname())
            except TimeoutError:
                break
        yield server.getsockname()[1]
        for connection in waiting:
            connection.close()


def test_a_database_that_never_answers_is_one_line(silent, monkeypatch):
    monkeypatch.setattr(store, "CONNECT_S", 0.5)
    uri = f"postgresql+psycopg://127.0.0.1:{silent}/runs"
    assert refused(TrackingConfig(uri)) == f"tracking.uri: {uri}: no answer within 0.5 s; {OTHERS}"


def test_a_server_that_never_answers_is_one_line(silent, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    uri = f"http://127.0.0.1:{silent}"
    message = refused(TrackingConfig(uri))
    assert message.startswith(f"tracking.uri: {uri}: no MLflow server answers, ")
    assert message.endswith(f"; start it; {OTHERS}")


def test_who_holds_the_lock_of_a_store_is_said_and_waited_for(config, monkeypatch, capsys):
    monkeypatch.setattr(store, "LOCK_S", 1)
    monkeypatch.setattr(retry, "QUIET_S", 0.1)
    lock = config.uri.removeprefix("sqlite:///") + ".lock"
    held = f"tracking.uri: {config.uri}: another job opens it and holds {lock}"
    with FileLock(lock):
        assert refused(config) == f"{held}, for 1 s now; end that job, or {OTHERS}"
    assert capsys.readouterr().err == f"{held}; waiting for up to 1 s\n"
    assert open_store(config) == config


def test_a_deleted_experiment_is_one_line(config):
    client = MlflowClient(config.uri)
    client.delete_experiment(client.create_experiment("amazon"))
    assert refused(config) == (
        f"tracking.experiment: 'amazon' of {config.uri} was deleted; give another, or "
        "`mlflow experiments restore --experiment-id 1`"
    )


@pytest.mark.parametrize("name", ["", " "])
def test_an_experiment_has_a_name(name):
    with pytest.raises(UserError, match=f"tracking.experiment: '{name}' is no name; give one"):
        TrackingConfig(experiment=name)


def test_the_default_is_that_of_mlflow(monkeypatch):
    assert TrackingConfig().uri == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert TrackingConfig().uri == "http://mlflow:5000"


def test_who_uses_mlflow_beside_keeps_its_store(config, monkeypatch):
    with track(config, "x", None, {}, {}):
        assert mlflow.get_tracking_uri() == config.uri
    assert not mlflow.is_tracking_uri_set()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with track(config, "x", None, {}, {}):
        pass
    assert TrackingConfig().uri == mlflow.get_tracking_uri() == "http://mlflow:5000"
    mlflow.set_tracking_uri(None)


def test_artifacts_lie_beside_the_database_wherever_a_job_runs(config, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("RACLIB_HOME", str(tmp_path))
    tracking = open_store(TrackingConfig())
    assert tracking == config
    with track(tracking, "x", None, {}, {}) as logger:
        logger.log_table(pd.DataFrame({"a": [1]}), "table")
    assert list(tmp_path.glob("mlartifacts/*/artifacts/table.csv"))
    assert not list(Path().iterdir())


@pytest.mark.parametrize("location", [None, "mlruns/1"])
def test_artifacts_follow_a_database_that_moved(config, tmp_path, location):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.move(tmp_path / "mlflow.db", old)
    before = TrackingConfig(sqlite_uri(old / "mlflow.db"))
    if location:  # as MLflow itself makes it
        MlflowClient(before.uri).create_experiment("amazon", str(old / location))
    table = pd.DataFrame({"a": [1]})
    with track(before, "x", "key", {}, {}) as logger:
        logger.log_table(table, "table")
    old.rename(new)
    _artifact_repos_cache.clear()  # what a process that writes to it now has not
    after = TrackingConfig(sqlite_uri(new / "mlflow.db"))
    with track(after, "x", "key", {}, {}) as again:
        assert again.run_id == logger.run_id
        assert again.read_table("table").equals(table)
        again.log_table(table, "later")
    with track(after, "x", None, {}, {}) as other:
        other.log_table(table, "other")
    assert not old.exists()
    assert {path.name for path in new.rglob("*.csv")} == {"table.csv", "later.csv", "other.csv"}


@pytest.mark.parametrize("name", ["chosen", "large/mlartifacts"])
def test_a_place_of_artifacts_that_a_person_chose_stays(config, tmp_path, name):
    (tmp_path / "large" / "mlartifacts").mkdir(parents=True)
    client = MlflowClient(config.uri)
    number = client.create_experiment("amazon", f"{tmp_path}/{name}")
    open_store(config)
    assert client.get_experiment(number).artifact_location == f"{tmp_path}/{name}"


def test_jobs_that_first_use_one_store_at_once_all_find_it(tmp_path):
    # Forked where MLflow is imported and no thread runs: importing it thrice takes long.
    code = f"""
import multiprocessing
from raclib.run.config import TrackingConfig
from raclib.run.tracking import RunLogger, track
def work():
    with track(TrackingConfig("sqlite:///{tmp_path}/mlflow.db"), "x", None, {{}}, {{}}):
        pass
jobs = [multiprocessing.get_context("fork").Process(target=work) for _ in range(3)]
[job.start() for job in jobs]
[job.join() for job in jobs]
print([job.exitcode for job in jobs])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[0, 0, 0]\n", done.stderr[-3000:]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("amazon").experiment_id
    assert len(client.search_runs([experiment])) == 3


def test_a_store_that_stops_answering_later_is_one_line_that_training_goes_on_from(monkeypatch):
    for name, value in FEW_RETRIES.items():
        monkeypatch.setenv(name, value)
    gone = "http://127.0.0.1:1"
    logger = RunLogger(gone, "run", "retrieval")
    logger.log({"loss": 1.0}, rank=1)  # logs nothing
    with pytest.raises(PassingError) as found:
        logger.log({"loss": 1.0})
    assert str(found.value) == (
        f"tracking.uri: {gone}: no MLflow server answers, [Errno 111] Connection refused; start "
        "it; the same command continues when it answers"
    )


def test_a_bug_in_what_is_logged_stays_one(config):
    config = open_store(config)
    with pytest.raises(MlflowException, match="no-such-run"):
        RunLogger(config.uri, "no-such-run", "retrieval").log({"loss": 1.0})


def test_a_store_that_does_not_answer_yet_is_said(monkeypatch, capsys):
    monkeypatch.setattr(store, "QUIET_S", 0.01)
    with telling("http://host"):
        time.sleep(0.3)
    assert "tracking.uri: http://host: no answer yet" in capsys.readouterr().err
    monkeypatch.setattr(store, "QUIET_S", 0.1)
    with telling("http://host"):
        pass
    time.sleep(0.3)
    assert capsys.readouterr().err == ""
