"""The start of a job: Ray comes up while slow libraries are imported."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from raclib.run.cluster import connect
from raclib.run.config import RunSettings
from raclib.run.store import open_store

# None of them imports Ray: two threads that import each other's halves would wait for ever. The
# last is what PyTorch's optimisers import when the first of them is made.
SLOW = ("torch", "torch._dynamo")


def start(config: RunSettings) -> None:
    """Asks the store of runs, then joins Ray, or starts it, and imports meanwhile what trains.

    Ray's start waits for processes, and imports take one core.

    Args:
        config: What the job was told, with absolute paths.

    Raises:
        UserError: if the store does not answer, or the cluster to be joined is not there.
    """
    open_store(config.tracking)
    with ThreadPoolExecutor(1) as pool:
        importing = [pool.submit(import_module, name) for name in SLOW]
        connect(config.num_workers, log_to_driver=True)
        for each in importing:
            each.result()
