"""What an earlier job left of a training: its last whole checkpoint is kept, all else removed."""

import json
import sys
from contextlib import suppress

from raclib.corpus.faults import DamagedError
from raclib.corpus.files import (
    ask,
    folders_in,
    list_files,
    read_bytes,
    remove_empty_folders,
    remove_folder,
)
from raclib.errors import UserError
from raclib.run.arrow_storage import RECORD
from raclib.training.checkpoint import PREFIX, STATE_FILE, state_uri
from raclib.training.state_file import load_state


def last_checkpoint(run_uri: str) -> str | None:
    """Name of the newest checkpoint of a run that is whole; None if none was written.

    Says what was passed over. No half checkpoint stays, and no record of those that are gone.

    Args:
        run_uri: Folder or URI of the run, which no job is training.

    Raises:
        UserError: if there are checkpoints and none is whole.
    """
    files = list_files(run_uri)
    written = [name.partition("/")[0] for name in files if _is_state(name)]
    whole, damaged = _look(run_uri, sorted(written, reverse=True))
    if damaged and not whole:
        raise UserError(
            f"{damaged[0]}, and no older checkpoint is left; remove {run_uri} to train it again"
        )
    # Ray Train does not begin where its own is not whole, or from before an upgrade.
    if RECORD in files and not _is_json(f"{run_uri}/{RECORD}"):
        damaged.append(f"{run_uri}/{RECORD}: not whole, as a full disk or a crash leaves it")
    for mistake in damaged:
        print(f"{mistake}; training goes on from {whole or 'the first step'}", file=sys.stderr)
    _remove_all_but(run_uri, whole, files)
    return whole


def _look(run_uri: str, names: list[str]) -> tuple[str | None, list[str]]:
    """The first checkpoint that is whole, and what is wrong with those before it."""
    damaged: list[str] = []
    for name in names:
        try:
            load_state(state_uri(run_uri, name))
        except DamagedError as error:
            damaged.append(str(error))
        else:
            return name, damaged
    return None, damaged


def _is_state(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(f"/{STATE_FILE}")


def _is_json(uri: str) -> bool:
    with suppress(json.JSONDecodeError, UnicodeDecodeError):
        json.loads(read_bytes(uri))
        return True
    return False


def _remove_all_but(run_uri: str, whole: str | None, files: dict[str, int]) -> None:
    for folder in {name.partition("/")[0] for name in files if "/" in name} - {whole}:
        if folder.startswith(PREFIX):
            remove_folder(f"{run_uri}/{folder}")
    for name in files:
        if name == RECORD or (name.startswith(".") and name.endswith(".tmp") and "/" not in name):
            ask(f"{run_uri}/{name}", "rm_file")
    remove_empty_folders(folders_in(run_uri))
