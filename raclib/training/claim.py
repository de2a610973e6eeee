"""The same name continues a run only if it is the same run."""

import json
from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

from raclib.corpus.atomic import create_exclusive, write_atomic
from raclib.corpus.files import exists, read_bytes
from raclib.corpus.urls import without_secrets
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
ID = "id"


def check_claim(run_uri: str, settings: Mapping[str, object]) -> str | None:
    """Checks that a run which is continued is continued with the same settings.

    Args:
        run_uri: Folder or URI of the run, `<storage_path>/<name>`.
        settings: The flattened configuration.

    Returns:
        The run's id, by which it is tracked, None if it was not begun; one that was begun in that
        place after this was removed has another.

    Raises:
        UserError: if the run was started with other settings, or what it was started with cannot be
            read.
    """
    if not exists(_file(run_uri)):
        return None
    before, now = _kept(_read(run_uri)), _kept(settings)
    run_id = str(before.pop(ID, run_uri))  # runs were tracked by their place once
    for name in now.keys() | before.keys():
        if now.get(name) != before.get(name):
            raise UserError(
                f"{name}: the run {run_uri} was started with {before.get(name)!r}, now it is "
                f"{now.get(name)!r}; choose another --name, or remove that folder to start again"
            )
    return run_id


def claim(run_uri: str, settings: Mapping[str, object]) -> str:
    """Records what a run is started with; called when nothing is left that could be refused.

    Returns:
        The run's id; see `check_claim`.
    """
    if run_id := check_claim(run_uri, settings):
        _clean(run_uri)
        return run_id
    content = json.dumps({ID: uuid4().hex, **_kept(settings)}, indent=1)
    with suppress(FileExistsError):  # another job began it at the same time
        create_exclusive(_file(run_uri), content.encode())
    run_id = check_claim(run_uri, settings)
    assert run_id, "it has just been written"
    return run_id


def read_settings(run_uri: str) -> dict[str, object] | None:
    """What a run was started with, by dotted names; None if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    if not exists(_file(run_uri)):
        return None
    return {name: value for name, value in _read(run_uri).items() if name != ID}


def _file(run_uri: str) -> str:
    return f"{run_uri}/settings.json"


def _read(run_uri: str) -> dict[str, object]:
    try:
        return json.loads(read_bytes(_file(run_uri)))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{_file(run_uri)}: not whole, as a full disk or a crash leaves it; remove it to "
            f"continue with the settings of now, or {run_uri} to start again"
        ) from error


def _clean(run_uri: str) -> None:
    """Takes secrets out of settings: they were kept once."""
    found = _read(run_uri)
    if found != (clean := without_secrets(found)):
        with write_atomic(_file(run_uri)) as file:
            file.write(json.dumps(clean, indent=1).encode())


def _kept(settings: Mapping[str, object]) -> dict[str, object]:
    kept = {name: value for name, value in settings.items() if not name.startswith(FREE)}
    return json.loads(json.dumps(without_secrets(kept)))
