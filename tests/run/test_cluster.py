"""The Ray of a job that was not submitted to one."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from raclib.errors import UserError
from raclib.run import address as addresses
from raclib.run import cluster
from raclib.run.address import known_address
from raclib.run.cluster import connect, interpreter


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


@pytest.fixture
def told(monkeypatch):
    """Gives what a job says that is told a cluster which is not to be had."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", None)

    def ask(address: str) -> str:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError) as error:
            connect(1)
        return str(error.value)

    return ask


REMEDY = "mend it, or unset RAY_ADDRESS for a Ray of this job alone"


def test_a_cluster_that_does_not_answer_is_one_line(told, monkeypatch):
    monkeypatch.setattr(addresses, "REACH_S", 0.2)
    with socket.create_server(("", 0)) as silent:  # accepts, and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert told(address) == f"RAY_ADDRESS: no Ray answers at {address} (waited 0.2 s); {REMEDY}"
    assert told(address) == f"RAY_ADDRESS: no Ray answers at {address} (waited 0.2 s); {REMEDY}"


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_an_address_of_another_kind_is_one_line(told, address):
    assert told(address) == (
        f"RAY_ADDRESS: {address} is not HOST:PORT of the head of a Ray that runs; {REMEDY}"
    )


def test_a_cluster_that_asks_for_a_token_is_one_line(told):
    def refuse(request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "token")

    class Head(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(refuse)

    head = grpc.server(ThreadPoolExecutor(1), handlers=[Head()])
    address = f"127.0.0.1:{head.add_insecure_port('0.0.0.0:0')}"
    head.start()  # on every address: Ray takes 127.0.0.1 for that of the machine
    assert told(address) == (
        f"RAY_ADDRESS: {address} asks for a token, and this job gives none or another: "
        f"export RAY_AUTH_MODE=token and the token of that Ray; {REMEDY}"
    )
    head.stop(None)


def test_a_cluster_of_another_version_is_one_line(told, monkeypatch):
    def init(address, **how):
        raise RuntimeError("Version mismatch: the cluster has\n    Ray: 2.59")

    monkeypatch.setattr(cluster, "reach", lambda address: address)
    monkeypatch.setattr("ray.init", init)
    assert told("head:6379") == (
        "RAY_ADDRESS: cannot join head:6379: Version mismatch: the cluster has Ray: 2.59; " + REMEDY
    )


def test_processes_of_ray_train_are_told_their_cluster(ray_cluster, monkeypatch):
    here = ray_cluster.get_runtime_context().gcs_address
    with known_address():
        assert get_env_vars_to_propagate()["RAY_ADDRESS"] == here
    assert "RAY_ADDRESS" not in os.environ
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with known_address():
        assert os.environ["RAY_ADDRESS"] == here
    assert os.environ["RAY_ADDRESS"] == "auto"
