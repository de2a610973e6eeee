"""Jobs as people start them: their own processes, a small configuration."""

import runpy
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def tiny_file(write_tiny, tmp_path) -> Path:
    """The tiny configuration, its results under `tmp_path`."""
    return write_tiny(tmp_path)


@pytest.fixture
def run_alone(tmp_path, monkeypatch, capsys):
    """Runs a job's file in this process, which saves its start; for what fails before Ray starts.

    Returns its exit code, output and errors.
    """

    def run(name: str, *args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            runpy.run_path(str(JOBS / name), run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def run_here(ray_cluster, run_alone):
    """The same on the session's Ray."""
    return run_alone
