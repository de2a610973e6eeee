"""The Ray cluster a job runs on, and Ray Data's manners on the terminal."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import LoggingConfig
from ray.data import DataContext
from ray.exceptions import RayError

from raclib.errors import UserError
from raclib.run.address import ADDRESS, REMEDY, reach
from raclib.run.cli import find_user_error

OBJECT_STORE_BYTES = 512 * 2**20
# One machine has no node that could be reclaimed, and an end is noticed at once.
LOCAL_SETTINGS = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}


def connect(num_workers: int, log_to_driver: bool = False, address: str | None = None) -> None:
    """Joins the cluster the job was submitted to, or starts one on this machine.

    Args:
        num_workers: Ray Train workers; a local cluster has a logical CPU for each and one more, for
            whatever feeds them.
        log_to_driver: Print what workers print.
        address: Cluster to join; by default `RAY_ADDRESS`, which Ray sets for submitted jobs.

    Raises:
        UserError: if that cluster is not there.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Workers' progress bars come through, their libraries' chatter does not.
    quiet: dict[str, Any] = {
        "log_to_driver": log_to_driver,
        "logging_level": logging.ERROR,
        "logging_config": LoggingConfig(log_level="ERROR"),
        "runtime_env": interpreter(),
    }
    address = address or os.environ.get(ADDRESS) or "local"
    if address != "local":
        _join(address, quiet)
        return
    for name, value in LOCAL_SETTINGS.items():
        os.environ.setdefault(name, value)
    ray.init(
        address,  # else Ray joins what `ray start` began on this machine, and refuses the rest
        num_cpus=max(os.cpu_count() or 1, num_workers + 1),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **quiet,
    )


def _join(address: str, how: dict[str, Any]) -> None:
    found = reach(address)
    try:
        ray.init(found, **how)
    except (RuntimeError, ConnectionError) as error:  # of another version, for one
        reason = " ".join(str(error).split())
        raise UserError(f"{ADDRESS}: cannot join {address}: {reason}; {REMEDY}") from error


def interpreter() -> dict[str, str]:
    """A runtime environment of this interpreter, where its path needs quotes.

    Ray starts workers by a shell command into which it writes the path as it is.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def this_node() -> dict[str, str]:
    """Label selector of the machine of this process, for work on files that only it may see."""
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


@contextmanager
def quiet_ray_data(max_block_bytes: int | None = None) -> Iterator[None]:
    """Within it Ray Data prints nothing, and a worker's UserError arrives as itself.

    Args:
        max_block_bytes: Size above which Ray Data passes a block on; by default its own.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    if max_block_bytes is not None:
        context.target_max_block_size = max_block_bytes
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context):
            yield
    except RayError as error:
        mistake = find_user_error(error)
        if mistake is None:
            raise
        raise mistake from error
    finally:
        logger.setLevel(level)
