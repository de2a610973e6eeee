"""Small corpora that tests read, and the arrays that went into them."""

import gc
import http.client
import os
import shutil
import socket
import threading
import time
import weakref
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus

FIELDS = {
    "embedding": Field("float16", (24,)),
    "pair": Field("int32", (2, 3)),
    "label": Field("int8"),
    "flag": Field("bool"),
    "time": Field("int64"),
}


def _make_rows(num_rows: int, seed: int = 0, start_time: int = 0) -> dict[str, np.ndarray]:
    """Random rows of `FIELDS`, with ties in time."""
    rng = np.random.default_rng(seed)
    return {
        "embedding": rng.standard_normal((num_rows, 24)).astype(np.float16),
        "pair": rng.integers(-(2**31), 2**31, (num_rows, 2, 3)).astype(np.int32),
        "label": rng.integers(-128, 128, num_rows).astype(np.int8),
        "flag": rng.integers(0, 2, num_rows).astype(bool),
        "time": start_time + np.sort(rng.integers(0, num_rows, num_rows)),
    }


def _write_corpus(uri: str, rows: dict[str, np.ndarray], rows_per_shard: int, **options):
    """Writes rows in uneven pieces and opens the corpus."""
    num_rows = len(rows["time"])
    with CorpusWriter(uri, FIELDS, rows_per_shard, **options) as writer:
        edges = [0, num_rows // 5, num_rows // 2, num_rows]
        for lo, hi in pairwise(edges):
            writer.write({name: array[lo:hi] for name, array in rows.items()})
    return open_corpus(uri)


def _same(found: dict[str, np.ndarray], rows: dict[str, np.ndarray], ids) -> bool:
    """Whether what was fetched are these rows, bit by bit."""
    return all(
        array.dtype == rows[name].dtype and array.tobytes() == rows[name][ids].tobytes()
        for name, array in found.items()
    )


@pytest.fixture(scope="session")
def make_rows():
    return _make_rows


@pytest.fixture(scope="session")
def write_corpus():
    return _write_corpus


@pytest.fixture(scope="session")
def same():
    return _same


@pytest.fixture(scope="session")
def rows():
    return _make_rows(5000)


@pytest.fixture(scope="session")
def corpus(rows, tmp_path_factory):
    """5000 rows in shards of 1200, 1200, 1200, 1200 and 200."""
    return _write_corpus(str(tmp_path_factory.mktemp("corpus") / "c"), rows, 1200)


@pytest.fixture
def copy(corpus, tmp_path):
    """A copy of the corpus to damage."""
    shutil.copytree(corpus.uri, tmp_path / "copy")
    return open_corpus(str(tmp_path / "copy"))


def _running_servers(title: str = "ray::ShardServer") -> set[int]:
    """Process ids of the servers of the Ray that this process started; others' do not count."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        # A process may end while it is looked at.
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                found.add(process.pid)
    return found


@pytest.fixture(scope="session")
def running_servers():
    return _running_servers


@pytest.fixture
def no_leaks(ray_cluster, tmp_path):
    """After the test no server, half file, open file or row in the object store is left of it."""
    from ray._private.internal_api import node_stats

    def held() -> tuple[int, int, int]:
        half_files = sum(1 for _ in tmp_path.rglob("*.tmp"))
        open_files = sum(_points_into(fd, tmp_path) for fd in Path("/proc/self/fd").iterdir())
        (node,) = ray_cluster.nodes()
        stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False)
        return half_files, open_files, stats.store_stats.object_store_bytes_used

    servers, before = _running_servers(), held()
    yield
    ends = time.monotonic() + 20
    while True:
        gc.collect()
        after = held()
        new = _running_servers() - servers
        if not new and all(now <= then for now, then in zip(after, before, strict=True)):
            return
        assert time.monotonic() < ends, f"servers {new}; half files, open files, bytes: {after}"
        time.sleep(0.2)


def _points_into(descriptor: Path, folder: Path) -> bool:
    with suppress(OSError):
        return str(descriptor.readlink()).startswith(str(folder))
    return False


# Set before Ray starts, so that servers find the store: boto reads the standard variables.
# Bound from then on, so that nobody else takes the port before the store listens.
S3_SOCKET = socket.socket()
S3_SOCKET.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
S3_SOCKET.bind(("127.0.0.1", 0))
os.environ.update(
    AWS_ENDPOINT_URL=f"http://127.0.0.1:{S3_SOCKET.getsockname()[1]}",
    AWS_ACCESS_KEY_ID="test-key-id",
    AWS_SECRET_ACCESS_KEY="test-secret-never-logged",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)


# What an object store says when it refuses.
REFUSALS = {
    "503": (503, "SlowDown"),
    "500": (500, "InternalError"),
    "429": (429, "TooManyRequests"),
    "denied": (403, "AccessDenied"),
    "unknown key": (403, "InvalidAccessKeyId"),
    "wrong secret": (403, "SignatureDoesNotMatch"),
    "expired": (400, "ExpiredToken"),
}


class FaultyProxy(ThreadingHTTPServer):
    """An object store that fails on demand: passes requests on, or does what `fault` says.

    `fault` is called with method and path of a request and returns None, a key of `REFUSALS`,
    `"stall"`, `"short"` or `"corrupt"`. A request of `/down/<seconds>` stops it for so long.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, bound: socket.socket, upstream: tuple[str, int]) -> None:
        super().__init__(bound.getsockname(), _ProxyHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.upstream = upstream
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.reset()
        self.start()

    def start(self) -> None:
        self.server_activate()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Refuses connections, and breaks those that stand."""
        self.shutdown()
        self.thread.join()
        address = self.socket.getsockname()
        self.socket.close()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)  # without listening: nobody else takes the port
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_for(self, seconds: float) -> None:
        """Stops it, and starts it again after a while."""
        self.stop()
        threading.Timer(seconds, self.start).start()

    def get_request(self):
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def reset(self) -> None:
        self.fault = lambda method, path: None
        self.requests: list[tuple[str, str, str | None]] = []
        self.delay = 0.0

    def handle_error(self, request, client_address):
        """A client that gave up is no error here."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        proxy = self.server
        if self.path.startswith("/down/"):
            proxy.stop_for(float(self.path.removeprefix("/down/")))
            return
        proxy.requests.append((self.command, self.path, self.headers.get("Range")))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.fault(self.command, self.path)
        time.sleep(proxy.delay)
        if fault == "stall":
            time.sleep(60)
        if fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
            return
        upstream = http.client.HTTPConnection(*proxy.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if fault == "corrupt" and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "short":
            data, self.close_connection = data[: len(data) // 2], True
        self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        data = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def s3_server():
    """moto behind a proxy that can be told to fail."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    proxy = FaultyProxy(S3_SOCKET, moto.get_host_and_port())
    yield proxy
    proxy.shutdown()
    moto.stop()


@pytest.fixture
def proxy(s3_server):
    """The faults of the object store; none after the test."""
    yield s3_server
    s3_server.reset()


@pytest.fixture(scope="session")
def bucket(s3_server):
    """URI of an empty bucket."""
    import s3fs

    name = f"corpus-{os.getpid()}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"
