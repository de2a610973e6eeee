"""Minibatches of examples through Ray Data, in an order that is a function of the seed alone."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import ray
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback

from raclib.arrays import Arrays

# Large enough to spare tasks, small enough to start at once.
STEPS_A_BLOCK = 8
READS_AT_ONCE = 2  # for each worker; each takes a process of half a gigabyte
LOOP_PAUSE_S = 0.01


class Pause(ExecutionCallback):
    """Lets Ray Data rest between two looks at its tasks.

    Where examples are read faster than they are learned from, Ray 2.60 looks without a rest, on a
    thread of the training process: it takes a core, and from training the interpreter's lock.
    """

    def on_execution_step(self, executor: object) -> None:
        """Called after every look."""
        time.sleep(LOOP_PAUSE_S)


@dataclass(frozen=True)
class Order:
    """The examples of every step of a run: a true permutation an epoch, seeded.

    The tail of an epoch that does not fill a batch is left out of that epoch.

    Attributes:
        rows: Row ids of the training examples.
        batch_size: Examples a step, over all workers.
        num_epochs: Passes over the examples.
        seed: Seed of the permutations.
    """

    rows: np.ndarray
    batch_size: int
    num_epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass."""
        return len(self.rows) // self.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.steps_per_epoch * self.num_epochs

    def at(self, steps: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Row ids at `positions` of the global batches of `steps`."""
        epochs, step_in_epoch = np.divmod(steps, self.steps_per_epoch)
        places = step_in_epoch * self.batch_size + positions
        rows = np.empty(len(steps), dtype=np.int64)
        for epoch in np.unique(epochs):
            shuffled = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
            rows[epochs == epoch] = shuffled[places[epochs == epoch]]
        return rows


def stream_examples(
    order: Order,
    read: Callable[[np.ndarray], Arrays],
    start_step: int,
    rank: int,
    num_workers: int,
) -> Iterator[Arrays]:
    """Local batches of one worker from `start_step` on, read ahead by Ray Data tasks.

    Args:
        order: Examples of every step.
        read: Reads row ids as arrays `[N, ...]`; sent to the tasks.
        start_step: First step.
        rank: This worker's place; it takes that part of every global batch.
        num_workers: Workers that share a global batch; divides the batch size.
    """
    local = order.batch_size // num_workers
    num_rows = (order.num_steps - start_step) * local
    block_rows = STEPS_A_BLOCK * local
    if num_rows == 0:
        return

    def load(block: Arrays) -> Arrays:
        ids = np.arange(block["first"][0], min(block["first"][0] + block_rows, num_rows))
        steps, places = np.divmod(ids, local)
        return read(order.at(start_step + steps, rank * local + places))

    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.custom_execution_callback_classes = [Pause]
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What reading meets arrives as it was raised: whether training is tried again depends on it.
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it complains of is raised too
    # A block is the first of its examples until it is read. Nothing here asks for a core: reading
    # waits for disks and servers, and after a lost node workers may have taken all that are left.
    firsts = [{"first": first} for first in range(0, num_rows, block_rows)]
    blocks = ray.data.from_items(firsts, override_num_blocks=len(firsts))
    dataset = blocks.map_batches(load, batch_size=None, num_cpus=0, concurrency=READS_AT_ONCE)  # type: ignore[arg-type]
    batches = dataset.iter_batches(batch_size=local, prefetch_batches=2, batch_format="numpy")
    yield from cast(Iterator[Arrays], batches)
