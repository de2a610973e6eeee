"""`ray job submit` in both spellings, to a head with token authentication."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def checkout(write_tiny, copy_checkout, tmp_path_factory):
    """A copy of what is submitted, with the tiny configuration as its default.

    Where runs are tracked it leaves to RACLIB_HOME.
    """
    folder = copy_checkout(tmp_path_factory.mktemp("submit") / "checkout")
    # A shard: a process that makes it.
    config = json.loads(write_tiny(folder.parent, rows_per_shard=2000).read_text())
    del config["tracking"]
    (folder / "configs" / "amazon_quickstart.yaml").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def head(ray_start, checkout):
    """A head node started in the checkout; gives the environment that its clients need."""
    folder = checkout.parent
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    dashboard = free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RACLIB_HOME": str(folder),
    }
    environment.pop("RAY_ADDRESS", None)
    # A short path: sockets below it may not pass 107 bytes.
    short = Path("/tmp") / f"rj{os.getpid()}"
    command = ["ray", "start", "--head", "--block", "--num-cpus=3", f"--temp-dir={short}"]
    command += ["--object-store-memory=300000000", "--include-dashboard=true"]
    # Each has a fixed port by default, which another Ray here may hold.
    ports = {
        "port": free_port(),
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
    }
    command += [f"--{name}={port}" for name, port in ports.items()]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=checkout
        )
    environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(dashboard, folder / "head.log")
        yield environment
    finally:
        stop(process)
        shutil.rmtree(short, ignore_errors=True)


def stop(process: subprocess.Popen) -> None:
    """Ends the head and everything it started, at once: nothing of it is needed any more."""
    head = psutil.Process(process.pid)
    started = [head, *head.children(recursive=True)]
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(started, timeout=20)


def wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text())


# The dashboard listens before the agent that takes jobs has told it so.
@retry(
    retry=retry_if_result(lambda found: "No available agent" in found.stdout + found.stderr),
    wait=wait_fixed(2),
    stop=stop_after_delay(120),
)
def submit(spelling: list[str], **options) -> subprocess.CompletedProcess:
    command = ["ray", "job", "submit", *spelling]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=250, check=False, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "spelling",
    [
        ["jobs/train_amazon.py"],
        ["--working-dir", ".", "--", "python", "jobs/train_amazon.py"],
    ],
    ids=["file", "working-dir"],
)
def test_the_job_succeeds_in_both_spellings(head, checkout, spelling):
    found = submit(spelling, env=head, cwd=checkout)
    output = found.stdout + found.stderr
    assert found.returncode == 0, output[-4000:]
    assert "succeeded" in output
    assert "after the rule change" in output
    client = MlflowClient(f"sqlite:///{checkout.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("amazon").experiment_id
    runs = client.search_runs([experiment])
    assert {run.info.status for run in runs} == {"FINISHED"}
    # Beside the database, not in the uploaded folder, which vanishes.
    kept = {path.name for path in (checkout.parent / "mlartifacts").rglob("*.*")}
    assert {"over_time.csv", "over_time.png", "weights.pt"} <= kept
    assert all(run.info.artifact_uri.startswith(checkout.parent.as_uri()) for run in runs)
