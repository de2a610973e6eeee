"""Where a run keeps what must outlast it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from raclib.run.config import TrackingConfig


class Places(Protocol):
    """A configuration, a dataclass, of what keeps files and is tracked."""

    storage_path: str
    tracking: TrackingConfig


Settings = TypeVar("Settings", bound=Places)
SQLITE = "sqlite:///"


def home() -> Path:
    """The folder that relative paths start from.

    `RACLIB_HOME` if it is set; else the current folder, unless that is Ray's throw-away copy of an
    uploaded working directory, where results would be lost: then `~/raclib`.
    """
    if "RACLIB_HOME" in os.environ:
        return Path(os.environ["RACLIB_HOME"]).absolute()
    here = Path.cwd()
    return Path.home() / "raclib" if "working_dir_files" in here.parts else here


def absolute(uri: str) -> str:
    """A path made absolute; URIs with a scheme stay, except SQLite's relative file."""
    if uri.startswith(SQLITE):
        return f"{SQLITE}{home() / uri.removeprefix(SQLITE)}"
    return uri if "://" in uri else str(home() / Path(uri).expanduser())


def resolve(config: Settings, **paths: str) -> Settings:
    """The configuration with absolute paths: workers run in folders of their own.

    Args:
        config: What the job was told.
        paths: Further fields of the configuration that hold a path, and the paths.
    """
    return replace(  # type: ignore[type-var]  # no protocol can ask for a dataclass
        config,
        storage_path=absolute(config.storage_path),
        tracking=replace(config.tracking, uri=absolute(config.tracking.uri)),
        **{name: absolute(path) for name, path in paths.items()},
    )
