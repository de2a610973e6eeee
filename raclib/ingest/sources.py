"""Where reviews come from: files, a published category, or a generator."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from raclib.corpus.files import local_path, normalise, resolve
from raclib.errors import UserError
from raclib.ingest.download import category_url, download
from raclib.tasks.amazon.config import AmazonConfig, GeneratedConfig
from raclib.tasks.amazon.generated import generate_reviews
from raclib.tasks.amazon.reviews import Tally, public_name, read_reviews, reading


class Source(Protocol):
    """Reviews in some order. Picklable."""

    def describe(self) -> dict[str, Any]:
        """What a corpus must say of its reviews: no path, no credentials."""
        ...

    def fetch(self, folder: str) -> "Source":
        """The source with its files at hand; downloads those of the web to a folder."""
        ...

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Batches of `reviews.SCHEMA`; counts what it reads."""
        ...


def choose_source(config: AmazonConfig) -> Source:
    """The one source a configuration names.

    Raises:
        UserError: if it names none, or more than one.
    """
    given = {
        name: value
        for name in ("reviews", "category", "generated")
        if (value := getattr(config, name)) is not None
    }
    if len(given) != 1:
        raise UserError(
            f"reviews, category, generated: {' and '.join(given) or 'none'} given; give "
            "exactly one (switch another off with null: --generated null)"
        )
    if config.generated is not None:
        return GeneratedSource(config.generated)
    if config.category is not None:
        return FileSource((category_url(config.category),), config.strict)
    uris = [config.reviews] if isinstance(config.reviews, str) else config.reviews
    if not uris:
        raise UserError("reviews: an empty list; give at least one file")
    return FileSource(tuple(map(_absolute, uris)), config.strict)


@dataclass(frozen=True)
class GeneratedSource:
    """Reviews made by a program."""

    config: GeneratedConfig

    def describe(self) -> dict[str, Any]:
        """The generator's configuration."""
        return {"generated": asdict(self.config)}

    def fetch(self, folder: str) -> "GeneratedSource":
        """Itself: there is nothing to fetch."""
        return self

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Generated reviews."""
        return generate_reviews(self.config, tally)


@dataclass(frozen=True)
class FileSource:
    """Files of reviews, by path, fsspec URI or http(s) URL."""

    uris: tuple[str, ...]
    strict: bool

    def describe(self) -> dict[str, Any]:
        """Names and sizes of the files."""
        return {"files": [_describe_file(uri) for uri in self.uris]}

    def fetch(self, folder: str) -> "FileSource":
        """The same files, those of the web as local copies."""
        local = [_fetch(uri, folder) if _is_web(uri) else uri for uri in self.uris]
        return FileSource(tuple(local), self.strict)

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Reviews of the files in their order."""
        return read_reviews(self.uris, self.strict, tally)


def _absolute(uri: str) -> str:
    return uri if _is_web(uri) else normalise(uri)


def _is_web(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _fetch(url: str, folder: str) -> str:
    path = local_path(folder)
    if path is None:
        raise UserError(
            f"storage_path: {folder} is not on this machine, where downloads are kept; give a "
            "local storage_path, and --corpus for a corpus elsewhere"
        )
    return str(download(url, path))


def _describe_file(uri: str) -> dict[str, Any]:
    name = Path(urlsplit(uri).path).name
    if _is_web(uri):
        return {"name": name}
    fs, path = resolve(uri)
    with reading(public_name(uri)):
        return {"name": name, "num_bytes": fs.size(path)}
