"""The Ray of a job that was not submitted to one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from raclib.run.cluster import interpreter


@pytest.fixture
def folder():
    """Where Ray keeps its session; short, because it puts sockets there too."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder)


def test_a_job_starts_a_ray_of_its_own_where_another_runs(folder):
    # What `ray start` leaves for those that would join.
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    code = "import ray; from raclib.run.cluster import connect; connect(1); print(len(ray.nodes()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize("path", ["/a b/python", "/ü/python"])
def test_workers_get_the_interpreter_in_quotes_where_its_path_needs_them(monkeypatch, path):
    monkeypatch.setattr(sys, "executable", path)
    assert interpreter() == {"py_executable": f"'{path}'"}
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert interpreter() == {}
