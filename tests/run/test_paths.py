"""Relative paths start where results are not lost."""

from pathlib import Path

import pytest

from raclib.errors import UserError
from raclib.run.paths import absolute, sqlite_file, sqlite_uri


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.delenv("RACLIB_HOME", raising=False)


def test_relative_paths_start_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("runs") == str(tmp_path / "runs")
    assert absolute("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"


def test_absolute_paths_and_uris_stay():
    assert absolute("/data/runs") == "/data/runs"
    assert absolute("s3://bucket/runs") == "s3://bucket/runs"
    assert absolute("http://mlflow:5000") == "http://mlflow:5000"
    assert absolute("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"


def test_an_uploaded_working_directory_keeps_nothing(tmp_path, monkeypatch):
    uploaded = tmp_path / "working_dir_files" / "_ray_pkg_1"
    uploaded.mkdir(parents=True)
    monkeypatch.chdir(uploaded)
    assert absolute("runs") == str(Path.home() / "raclib" / "runs")


def test_the_environment_decides_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RACLIB_HOME", str(tmp_path))
    assert absolute("runs") == str(tmp_path / "runs")


@pytest.mark.parametrize("name", ["a b", "a?b", "a%20b", "a#b", "O'Brien ü #[1] %41 ?x"])
def test_a_path_stays_what_it_is_in_the_uri_of_its_file(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    file = tmp_path / name / "mlflow.db"
    assert sqlite_file(absolute("sqlite:///mlflow.db")) == sqlite_file(sqlite_uri(file)) == file


def test_only_files_are_made_absolute():
    assert absolute("sqlite://") == "sqlite://"
    assert absolute("sqlite:///:memory:") == "sqlite:///:memory:"
    assert absolute("sqlite:////a.db?timeout=3") == "sqlite:////a.db?timeout=3"
    assert absolute("sqlite_runs") == str(Path.cwd() / "sqlite_runs")
    with pytest.raises(UserError, match=r"tracking.uri: sqlite:/a.db: not a URI; give sqlite:///F"):
        absolute("sqlite:/a.db")
