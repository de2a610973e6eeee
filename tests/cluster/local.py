"""A cluster of several raylets on this machine, and a job on it, as people drive them."""

import os
import random
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

import psutil
from hosts import suspended, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "local.sh"
JOB = ROOT / "jobs" / "train_amazon.py"


class LocalCluster:
    """What `cluster/local.sh` starts; `folder` must be short, sockets lie in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, _hundred_ports()
        self.temporary, self.log = folder / "tmp", folder.with_suffix(".out")
        self.temporary.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RACLIB_CLUSTER_DIR": str(folder),
            "RACLIB_CLUSTER_PORT": str(port),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port + 1}",
            "TMPDIR": str(self.temporary),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2",
        }
        # Other tests switch the watcher of drained nodes off, for speed.
        for name in ("RAY_ADDRESS", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"):
            self.environment.pop(name, None)

    def run(self, *command: object, check: bool = True) -> str:
        """A command with what a client needs."""
        # To a file: nodes keep what they inherit, and would keep a pipe open.
        # Beside the folder, which `down` removes.
        with self.log.open("w") as out:
            done = subprocess.run(
                [str(part) for part in command],
                env=self.environment,
                stdout=out,
                stderr=out,
                timeout=200,
                check=False,
            )
        assert not check or done.returncode == 0, self.log.read_text()
        return self.log.read_text()

    def start_job(self, submission: str, log: Path, *args: object) -> subprocess.Popen:
        """`ray job submit`, which ends when the job does."""
        command = ["ray", "job", "submit", "--submission-id", submission, "--", sys.executable, JOB]
        with log.open("w") as out:
            return subprocess.Popen(
                [str(part) for part in (*command, *args)],
                env=self.environment,
                stdout=out,
                stderr=out,
            )

    def drain(self, node: int) -> None:
        """Tells Ray that a node will be gone in 90 s, as `cluster/drain.sh` does on the node."""
        given = self._raylet(node)
        self.run(
            *("ray", "drain-node", "--address", given["--gcs-address"]),
            *("--node-id", given["--node_id"]),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"),
            *("--deadline-remaining-seconds", 90),
        )

    @property
    def address(self) -> str:
        """Where drivers find it."""
        return self._raylet(1)["--gcs-address"]

    def _raylet(self, node: int) -> dict[str, str]:
        """The arguments of a node's raylet."""
        commands = [_command(process) for process in self.processes()[node]]
        raylet = next(found for found in commands if found and found[0].endswith("raylet/raylet"))
        return dict(argument.partition("=")[::2] for argument in raylet)

    def add(self, node: int) -> None:
        """Brings a node back; `wait_for` waits until it has joined."""
        self._log_of(node).unlink()
        self.run(SCRIPT, "add", node)

    def wait_for(self, node: int) -> None:
        """Waits until a node that was brought back has joined."""
        log = self._log_of(node)
        wait_until(lambda: log.exists() and "Ray runtime started" in log.read_text(), 90)

    def _log_of(self, node: int) -> Path:
        return self.folder / f"node{node}.log"

    def processes(self) -> dict[int, list[psutil.Process]]:
        """The living processes of every node."""
        sessions = {
            int(path.read_text()): int(path.stem.removeprefix("node"))
            for path in self.folder.glob("node*.pid")
        }
        found: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            try:
                node = sessions.get(os.getsid(process.pid))
            except OSError:  # it has just ended
                continue
            if node is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(node, []).append(process)
        return found

    def titled(self, title: str) -> dict[int, list[psutil.Process]]:
        """Living processes of that title, such as `ray::ShardServer`, of the nodes with any."""
        found = {
            node: [process for process in processes if title in " ".join(_command(process))]
            for node, processes in self.processes().items()
        }
        return {node: processes for node, processes in found.items() if processes}

    def nodes_with(self, title: str) -> set[int]:
        """Nodes with a process of that title."""
        return set(self.titled(title))

    def held_training(self) -> AbstractContextManager[None]:
        """Training stands still for a block, in which a fault comes."""
        return suspended([*chain.from_iterable(self.titled("ray::RayTrainWorker").values())])


def processes_naming(path: Path) -> list[psutil.Process]:
    """Processes, of any cluster or none, whose command names a file or folder."""
    return [p for p in psutil.process_iter() if str(path) in " ".join(_command(p))]


def _hundred_ports() -> int:
    """The first of a hundred ports that are free.

    Above the ports of Ray's workers, below those that the kernel gives away.
    """
    firsts = random.sample(range(20_000, 32_000, 100), 120)
    return next(first for first in firsts if all(map(_is_free, range(first, first + 100))))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
