"""Relative paths start where results are not lost."""

from pathlib import Path

import pytest

from raclib.run.paths import absolute


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
