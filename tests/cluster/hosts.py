"""Three Ray hosts and one without Ray on this machine, which the tests break."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import s3fs
from tenacity import Retrying, stop_after_attempt, stop_after_delay, wait_fixed

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"s3": 9000, "mlflow": 5000}
SUBNET = "10.78.0"  # of a bridge that only these hosts see
SERVICES = f"{SUBNET}.101"
BUCKET = "s3://hosts"
CPUS = 4
RAY_HOSTS = ("n1", "n2", "n3")


class Hosts:
    """Ray hosts n1 (the head), n2 and n3, and h1 with an object store and MLflow.

    Args:
        tool: The program that makes hosts.
        folder: A short path for its state; sockets lie below it.
    """

    def __init__(self, tool: Path, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "logs"
        self._name = f"h{os.getpid() % 10**7}"  # on this machine others may make hosts too
        self._command = [sys.executable, str(tool), "--name", self._name]
        self._environment = {**os.environ, "NETLAB_STATE": str(folder / "state")}
        self._started: list[subprocess.Popen] = []
        self._pool = ThreadPoolExecutor(1)
        self._returning: Future | None = None

    @property
    def tracking(self) -> str:
        """Tracking URI for processes on the hosts."""
        return f"http://{SERVICES}:{PORTS['mlflow']}"

    @property
    def database(self) -> str:
        """Tracking URI of the same runs for this process, which cannot reach the hosts."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def up(self, settings: dict[str, str]) -> None:
        """Starts everything; `settings` go into the environment of every process."""
        cache = self.folder / "cache"
        for path in (cache, self.logs):
            path.mkdir(parents=True)
        settings = {
            "AWS_ENDPOINT_URL_S3": f"http://{SERVICES}:{PORTS['s3']}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # A process for each kind of job that the server offers beside tracking.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONPATH": str(ROOT),
            "RACLIB_CACHE_DIR": str(cache),
            **settings,
        }
        options = [f"--env={name}={value}" for name, value in settings.items()]
        options += [f"--private={cache}", f"--venv={sys.prefix}", f"--subnet={SUBNET}"]
        # Else the tool makes it, and in the end takes it away from everyone.
        Path("/tmp/ray").mkdir(exist_ok=True)
        command = ("up", "3", f"--cpus={CPUS}", "--osm-mb=200", "--plain=1", *options)
        rising = self._pool.submit(self, *command)
        # What needs no Ray starts as soon as its host is there.
        is_there = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
        is_there(self, "exec", "h1", "true")
        self.start("h1", "moto_server", "-H", "0.0.0.0", "-p", str(PORTS["s3"]))
        self._tracking_server = self.start(
            *("h1", "mlflow", "server", "--host", "0.0.0.0", "--port", str(PORTS["mlflow"])),
            *("--workers", "1", "--allowed-hosts", "*", "--backend-store-uri", self.database),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        )
        self("exec", "h1", sys.executable, __file__, *map(str, PORTS.values()))
        rising.result()

    def down(self) -> None:
        """Ends everything and removes every trace."""
        self._pool.shutdown()
        for process in self._started:
            process.send_signal(signal.SIGTERM)
        self("down")
        for process in self._started:
            process.wait(20)
        shutil.rmtree(self.folder)

    def __call__(self, verb: str, *args: str, timeout: float = 180) -> str:
        """Does what `verb` says; returns what it prints."""
        command = [*self._command, verb, *args]
        found = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=timeout
        )
        output = found.stdout + found.stderr
        assert found.returncode == 0, f"{command}\n{output[-4000:]}"
        return found.stdout

    def start(self, host: str, *command: str, verb: str = "exec", log: str | None = None):
        """Starts a process on a host; what it prints goes into a file of `logs`."""
        where = [host] if verb == "exec" else ["--on", host]
        with (self.logs / f"{log or command[0]}.log").open("w") as file:
            process = subprocess.Popen(
                [*self._command, verb, *where, *command],
                env=self._environment,
                stdout=file,
                stderr=file,
            )
        self._started.append(process)
        return process

    def processes(self, title: str) -> dict[str, set[int]]:
        """Process ids of each Ray host's processes of that title, as this process sees them."""
        spaces = {_inode(Path(f"/run/netns/{self._name}-{host}")): host for host in RAY_HOSTS}
        found: dict[str, set[int]] = {host: set() for host in RAY_HOSTS}
        for pid in psutil.pids():
            with suppress(OSError):  # it has just ended
                host = spaces.get(_inode(Path(f"/proc/{pid}/ns/net")))
                if host and Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title.encode()):
                    found[host].add(pid)
        return found

    def frozen_tracking(self) -> AbstractContextManager[None]:
        """MLflow's server stands still for a block: what logs to it waits, for 120 s at most."""
        server = psutil.Process(self._tracking_server.pid)
        return suspended([server, *server.children(recursive=True)])

    @contextmanager
    def fault(self, kind: str, host: str) -> Iterator[float]:
        """A fault around a block; gives the time of it, and lets the host come back in the end."""
        began = time.time()
        self(*FAULTS[kind], host)
        try:
            yield began
        finally:
            # A host starts Ray again where the head, busy with its loss, does not answer at first.
            again = Retrying(stop=stop_after_attempt(3), reraise=True)
            self._returning = self._pool.submit(again, self, "start", host)

    def wait_until_whole(self) -> None:
        """Waits until the host that had a fault, if one had, is back."""
        if self._returning:
            self._returning.result()
        wait_until(lambda: self("nodes").count("ALIVE") == 3, 60)


FAULTS = {"kill": ("kill",), "power": ("kill", "--power"), "cut": ("cut",)}


def _inode(path: Path) -> int:
    return path.stat().st_ino


def find_tool() -> Path:
    """The program that makes hosts; skips where it is missing or cannot work."""
    beside = [parent / "shared" / "tools" / "netcluster.py" for parent in ROOT.parents]
    given = [Path(os.environ["NETCLUSTER"])] if "NETCLUSTER" in os.environ else []
    tool = next((path for path in given + beside if path.exists()), None)
    if tool is None:
        pytest.skip("no netcluster.py in ../shared/tools, and NETCLUSTER names none")
    if os.geteuid():
        pytest.skip("network namespaces need root")
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    probe = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "true"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine allows no namespaces")
    return tool


@contextmanager
def suspended(processes: list[psutil.Process]) -> Iterator[None]:
    """The processes stand still for a block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it may have been killed
                process.resume()


def wait_until(done: Callable[[], object], seconds: float) -> None:
    """Waits until `done()` is true."""
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends, f"not done after {seconds} s"
        time.sleep(0.5)  # to look takes the processor from what is waited for


def _wait_for_services(ports: list[int]) -> None:
    def answers(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(lambda: all(map(answers, ports)), 90)
    s3fs.S3FileSystem().mkdir(BUCKET)


if __name__ == "__main__":
    _wait_for_services([int(port) for port in sys.argv[1:]])
