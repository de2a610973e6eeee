"""Places that every machine of a cluster must see, checked before work starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import ray

from raclib.corpus.files import clear_errors, has_bucket, local_path
from raclib.errors import UserError
from raclib.run.config import TrackingConfig


def check_tracking(config: TrackingConfig) -> None:
    """Refuses to track runs in a file of one machine where the cluster has several.

    Raises:
        UserError: if it is so.
    """
    others = _other_machines()
    if others and config.uri.startswith("sqlite"):
        raise UserError(
            f"tracking.uri: {config.uri} is a file for one machine, the cluster has "
            f"{len(others) + 1}: start `mlflow server` on one and give --tracking.uri "
            "http://HOST:5000"
        )


def check_shared(**places: str) -> None:
    """Refuses buckets that are not there, and folders that only this machine of the cluster sees.

    Args:
        places: Settings that hold a folder or URI, and their values.

    Raises:
        UserError: if there is no such bucket, or another machine does not see a folder.
    """
    for name, place in places.items():
        if not has_bucket(place):
            raise UserError(
                f"{name}: {place}: there is no such bucket; make it, or give another place"
            )
    others = _other_machines()
    for name, place in places.items() if others else ():
        folder = local_path(place)
        if folder:
            _check_seen(name, folder, others)


def _other_machines() -> dict[str, str]:
    """A node id of every living machine but this one, by address."""
    here = ray.util.get_node_ip_address()
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = {node["NodeManagerAddress"]: node["NodeID"] for node in alive}
    return {address: node for address, node in found.items() if address != here}


def _check_seen(name: str, folder: Path, nodes: dict[str, str]) -> None:
    with _marker(folder) as marker:
        looks = [
            _sees.options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote(str(marker))
            for node in nodes.values()
        ]
        for address, seen in zip(nodes, ray.get(looks), strict=True):
            if not seen:
                raise UserError(
                    f"{name}: {folder} of this machine is not seen by {address}: give a folder "
                    f"that all machines mount, or a URI such as s3://bucket/{name}"
                )


@ray.remote
def _sees(path: str) -> bool:
    return Path(path).exists()


@contextmanager
def _marker(folder: Path) -> Iterator[Path]:
    """A file in the folder that is gone after the block; the folder is made if it is not there."""
    path = folder / f".seen-{uuid4().hex}"
    with clear_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    try:
        yield path
    finally:
        path.unlink()
