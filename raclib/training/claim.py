"""The same name continues a run only if it is the same run."""

import json
from collections.abc import Mapping

import fsspec

from raclib.errors import UserError

# Where, on how many machines and with which others a run goes on does not change what it computes.
FREE = (
    "num_seeds",
    "history_sizes",
    "num_workers",
    "min_workers",
    "use_gpu",
    "num_servers",
    "replicas",
    "mount",
    "predict_unlabelled",
    "tracking.",
    "train.max_failures",
    "train.log_every",
)


def check_claim(run_uri: str, settings: Mapping[str, object]) -> None:
    """Checks that a run which is continued is continued with the same settings.

    Args:
        run_uri: Folder or URI of the run, `<storage_path>/<name>`.
        settings: The flattened configuration.

    Raises:
        UserError: if the run was started with other settings.
    """
    filesystem, path = fsspec.core.url_to_fs(_file(run_uri))
    if not filesystem.exists(path):
        return
    before, now = json.loads(filesystem.cat_file(path)), _kept(settings)
    for name in now.keys() | before.keys():
        if now.get(name) != before.get(name):
            raise UserError(
                f"{name}: the run {run_uri} was started with {before.get(name)!r}, now it is "
                f"{now.get(name)!r}; choose another --name, or remove that folder to start again"
            )


def claim(run_uri: str, settings: Mapping[str, object]) -> None:
    """Records what a run is started with; called when nothing is left that could be refused."""
    check_claim(run_uri, settings)
    filesystem, path = fsspec.core.url_to_fs(_file(run_uri))
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(path, json.dumps(_kept(settings), indent=1).encode())


def _file(run_uri: str) -> str:
    return f"{run_uri}/settings.json"


def _kept(settings: Mapping[str, object]) -> dict[str, object]:
    kept = {name: value for name, value in settings.items() if not name.startswith(FREE)}
    return json.loads(json.dumps(kept))
