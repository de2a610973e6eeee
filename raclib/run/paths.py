"""Where a run keeps what must outlast it."""

import os
import posixpath
import re
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from raclib.corpus.files import normalise
from raclib.errors import UserError
from raclib.run.config import TrackingConfig


class Places(Protocol):
    """A configuration, a dataclass, of what keeps files and is tracked."""

    storage_path: str
    tracking: TrackingConfig


Settings = TypeVar("Settings", bound=Places)
MEMORY = ":memory:"


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
    file = sqlite_file(uri)
    if file:
        return sqlite_uri(home() / file, uri)
    return uri if "://" in uri else str(home() / Path(uri).expanduser())


def sqlite_file(uri: str) -> Path | None:
    """The file of SQLite's URI; None for other URIs, and for databases in memory.

    Raises:
        UserError: if it is not such a URI but begins like one.
    """
    if not re.match(r"sqlite(\+\w+)?:", uri):
        return None
    try:
        url = make_url(uri)
    except ArgumentError as error:
        raise UserError(f"tracking.uri: {uri}: not a URI; give sqlite:///FILE") from error
    if "?" in uri and not url.query:
        raise UserError(f"tracking.uri: {uri}: write the ? of a path as %3F, and its % as %25")
    database = url.database or MEMORY
    return None if database == MEMORY else Path(database)


def sqlite_uri(file: Path, like: str = "sqlite://") -> str:
    """MLflow's URI of an SQLite file, whatever its path is made of.

    Args:
        file: The file.
        like: A URI with the driver and the options that it is opened with.
    """
    url = make_url(like).set(database=str(file))
    if str(file) not in str(url):
        # By the short name MLflow would make the folder a second time, called as it is escaped.
        url = url.set(drivername="sqlite+pysqlite")
    return url.render_as_string(hide_password=False)


def resolve(config: Settings, **paths: str) -> Settings:
    """The configuration with absolute paths: workers run in folders of their own.

    Args:
        config: What the job was told.
        paths: Further fields of the configuration that hold a path, and the paths.
    """
    return replace(  # type: ignore[type-var]  # no protocol can ask for a dataclass
        config,
        storage_path=storage(config.storage_path),
        tracking=replace(config.tracking, uri=absolute(config.tracking.uri)),
        **{name: absolute(path) for name, path in paths.items()},
    )


def storage(uri: str) -> str:
    """A storage path that all who take it apart take for the same place.

    Some keep a `//` in a URI and some do not, so that a run would lie in two places.

    Raises:
        UserError: if it carries a password, or is of no known kind.
    """
    scheme, separator, path = normalise(absolute(uri)).rpartition("://")
    return f"{scheme}{separator}{posixpath.normpath(path)}"
