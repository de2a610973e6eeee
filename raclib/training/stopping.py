"""Ends training early but in order, with a checkpoint: for SIGTERM, or for a host that is to go."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

import ray
import ray.train
import torch
import torch.distributed
from ray.exceptions import RayError

from raclib.run.cluster import this_node
from raclib.training.stop_flag import StopFlag

# By the user; or a host of a worker is to go, and training goes on without it.
CutShort = Literal["stopped", "moved"]
DRAIN_EVERY = 10  # steps; asking takes 2 ms


def start_flag() -> Any:
    """The actor's handle; the flag goes with the driver, which alone raises it."""
    return ray.remote(StopFlag).options(num_cpus=0, label_selector=this_node()).remote()


@contextmanager
def raised_by_sigterm(flag: Any) -> Iterator[list[int]]:
    """Within it the first SIGTERM raises the flag, where it would end this process.

    Yields:
        The signals that came: empty if none did.
    """
    came: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(signal.SIGTERM, before)  # a second one does not wait
        flag.raise_it.remote()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


class Watch:
    """A worker's view of what may cut training short.

    Args:
        flag: The actor.
        num_workers: Workers that must stop at the same step: each of them looks after every step.
        device: Where they exchange what they see.
    """

    def __init__(self, flag: Any, num_workers: int, device: torch.device) -> None:
        self._waiting = flag.wait.remote()
        self._num_workers, self._device, self._looks = num_workers, device, 0

    def look(self) -> CutShort | None:
        """Why to stop now; the same answer for all workers."""
        if self._is_stopped():
            return "stopped"
        self._looks += 1
        # Ray gives all workers one answer. It would let them train on until the host is gone, and
        # the steps until then would be lost.
        is_drained = self._looks % DRAIN_EVERY == 0 and ray.train.get_preemption_info()
        return "moved" if is_drained else None

    def _is_stopped(self) -> bool:
        seen = self._sees_flag()
        if self._num_workers == 1:
            return seen
        any_1 = torch.tensor([float(seen)], device=self._device)
        torch.distributed.all_reduce(any_1)
        return bool(any_1 > 0)

    def _sees_flag(self) -> bool:
        done, _ = ray.wait([self._waiting], timeout=0)
        try:
            ray.get(done)
        except RayError:  # the flag went with the driver's node, and this worker soon will
            return False
        return bool(done)
