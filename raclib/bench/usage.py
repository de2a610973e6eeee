"""What the phases of a piece of work on Ray cost: time, processor time, memory; by sampling."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import psutil

from raclib.corpus.atomic import write_atomic

EVERY_S = 0.5
SERVER = "ray::ShardServer"
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@dataclass
class Usage:
    """What one phase took.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time, user and system, of this process and all below it, those of
            Ray itself among them.
        driver_mb: Most resident memory of this process.
        driver_own_mb: Most of its own: neither the object store, which is Ray's, nor files that are
            mapped, nor code that processes share.
        workers_mb: Most own memory of Ray's workers together.
        servers_mb: The same of those among them that serve a corpus.
        total_mb: The most of the driver's and the workers' own memory at one time.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    driver_mb: float = 0.0
    driver_own_mb: float = 0.0
    workers_mb: float = 0.0
    servers_mb: float = 0.0
    total_mb: float = 0.0


class UsageMeter:
    """Samples this process and those below it in a thread, within its `with` block.

    Work of processes shorter than `EVERY_S` is missed.

    Args:
        phase: The first phase; each lasts until the next begins.
    """

    def __init__(self, phase: str) -> None:
        self.phases: dict[str, Usage] = {}
        self._first, self._driver = phase, psutil.Process()
        self._processes: dict[int, psutil.Process] = {}
        self._cpu: dict[int, float] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._start(self._first)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._end()

    def begin(self, phase: str) -> None:
        """Ends the phase before and begins one; time of phases of one name adds up."""
        with self._lock:
            self._end()
            self._start(phase)

    def _start(self, phase: str) -> None:
        self._current = self.phases.setdefault(phase, Usage())
        self._sample(self._current)
        self._since, self._cpu_since = time.perf_counter(), sum(self._cpu.values())

    def _end(self) -> None:
        self._sample(self._current)
        self._current.seconds += time.perf_counter() - self._since
        self._current.cpu_seconds += sum(self._cpu.values()) - self._cpu_since

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            with self._lock:
                self._sample(self._current)

    def _sample(self, usage: Usage) -> None:
        driver_own, workers, servers = 0, 0, 0
        for process in [self._driver, *self._driver.children(recursive=True)]:
            # psutil.Process remembers what it read of one that is looked at again.
            process = self._processes.setdefault(process.pid, process)
            with _maybe_gone(), process.oneshot():
                self._cpu[process.pid] = sum(process.cpu_times()[:2])
                memory = process.memory_info()
                if process is self._driver:
                    usage.driver_mb = max(usage.driver_mb, memory.rss / 1e6)
                    driver_own = memory.rss - memory.shared
                elif _is_worker(process):
                    workers += memory.rss - memory.shared
                    if process.cmdline()[0].startswith(SERVER):
                        servers += memory.rss - memory.shared
        usage.driver_own_mb = max(usage.driver_own_mb, driver_own / 1e6)
        usage.servers_mb = max(usage.servers_mb, servers / 1e6)
        usage.workers_mb = max(usage.workers_mb, workers / 1e6)
        usage.total_mb = max(usage.total_mb, (driver_own + workers) / 1e6)


class KeptMeter(UsageMeter):
    """A meter that keeps phases that ended in a file, where work that continues finds them.

    Of a phase that was cut by a kill only what came after counts.

    Args:
        phase: The first phase.
        file: The file, JSON.
    """

    def __init__(self, phase: str, file: Path) -> None:
        super().__init__(phase)
        self._file = file
        self._before = read_phases(file)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._keep(list(self.phases))

    def begin(self, phase: str) -> None:
        """See `UsageMeter`."""
        super().begin(phase)
        self._keep([name for name in self.phases if name != phase])

    def _keep(self, ended: list[str]) -> None:
        found = self._before | {
            name: self.phases[name] for name in ended if name not in self._before
        }
        with write_atomic(str(self._file)) as file:
            file.write(json.dumps({name: asdict(usage) for name, usage in found.items()}).encode())


def together(phases: Iterable[Usage]) -> Usage:
    """All phases: times add up, and of memory the most counts."""
    kept = [asdict(usage) for usage in phases]
    names = [column.name for column in fields(Usage)]
    return Usage(
        **{name: (sum if "seconds" in name else max)(one[name] for one in kept) for name in names}
    )


def read_phases(file: Path) -> dict[str, Usage]:
    """The phases that a `KeptMeter` kept; none where there is no file."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    return {name: Usage(**values) for name, values in kept.items()}


@contextmanager
def _maybe_gone() -> Iterator[None]:
    """A process may end while it is looked at."""
    with suppress(psutil.NoSuchProcess):
        yield


def _is_worker(process: psutil.Process) -> bool:
    """Whether it runs tasks or actors; Ray's own daemons and agents do not."""
    command = process.cmdline()[:1]
    return bool(command) and command[0].startswith("ray::") and not command[0].startswith(AGENTS)
