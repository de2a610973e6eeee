"""The same name continues a run only if it is the same run."""

import json
from collections.abc import Mapping

import fsspec

from raclib.errors import UserError

# Where and on how many machines a run goes on does not change what it computes.
FREE = (
    "num_workers",
    "use_gpu",
    "num_servers",
    "tracking.",
    "train.max_failures",
    "train.log_every",
)


def claim(run_uri: str, settings: Mapping[str, object]) -> None:
    """Records what a run is started with, or checks that it is being continued with the same.

    Args:
        run_uri: Folder or URI of the run, `<storage_path>/<name>`.
        settings: The flattened configuration.

    Raises:
        UserError: if the run was started with other settings.
    """
    path = f"{run_uri}/settings.json"
    filesystem, local = fsspec.core.url_to_fs(path)
    kept = {name: value for name, value in settings.items() if not name.startswith(FREE)}
    now = json.loads(json.dumps(kept))
    if not filesystem.exists(local):
        filesystem.makedirs(local.rsplit("/", 1)[0], exist_ok=True)
        filesystem.pipe_file(local, json.dumps(now, indent=1).encode())
        return
    before = json.loads(filesystem.cat_file(local))
    for name in now.keys() | before.keys():
        if now.get(name) != before.get(name):
            raise UserError(
                f"{name}: the run {run_uri} was started with {before.get(name)!r}, now it is "
                f"{now.get(name)!r}; choose another --name, or remove that folder to start again"
            )
