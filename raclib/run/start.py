"""The start of a job: Ray comes up while slow libraries are imported."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from raclib.run.cluster import connect

# None of them imports Ray: two threads that import each other's halves would wait for ever. The
# last is what PyTorch's optimisers import when the first of them is made.
SLOW = ("mlflow", "torch", "torch._dynamo")


def start(num_workers: int) -> None:
    """Joins Ray, or starts it, and imports meanwhile what a job that trains needs.

    Ray's start waits for processes, and imports take one core.

    Args:
        num_workers: See `run.cluster.connect`.

    Raises:
        UserError: if the cluster to be joined is not there.
    """
    with ThreadPoolExecutor(1) as pool:
        importing = [pool.submit(import_module, name) for name in SLOW]
        connect(num_workers, log_to_driver=True)
        for each in importing:
            each.result()
