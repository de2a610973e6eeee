"""Files of stores, in bounded memory, as Python and pyarrow read files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile
from pyarrow.fs import FSSpecHandler

from raclib.corpus.files import clear_errors, local_path, resolve_once
from raclib.corpus.retry import retrying

BLOCK_BYTES = 16 * 2**20


class StoreFile(AbstractBufferedFile):
    """A file that is read by ranges, each of which is waited for as any request to a store is.

    The files that fsspec opens wait by rules of their own: for minutes, and in silence.

    Args:
        fs: Its file system, of `resolve_once`.
        path: Where it is.
        is_sequential: Whether to read ahead: in vain where a reader moves about.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, is_sequential: bool = True) -> None:
        self._retrying = retrying(fs.unstrip_protocol(path))
        size = self._retrying(fs.info, path)["size"]
        cache = "readahead" if is_sequential else "none"
        super().__init__(fs, path, block_size=BLOCK_BYTES, cache_type=cache, size=size)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._retrying(self.fs.cat_file, self.path, start=start, end=end)


class StoreHandler(FSSpecHandler):
    """fsspec for pyarrow; where it reads, what passes is waited out as for any request.

    Args:
        uri: A folder or URI of the file system.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(resolve_once(uri)[0])
        self._uri = uri

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        # A file system of fsspec forgets on its way that it sends requests once.
        return type(self), (self._uri,)

    def get_file_info(self, paths: list[str]) -> list[Any]:
        """What there is at some paths."""
        return self._ask(super().get_file_info, paths)

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        """What there is in a folder."""
        return self._ask(super().get_file_info_selector, selector)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to be read from its beginning."""
        return self._open(path, is_sequential=True) or super().open_input_stream(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to be read here and there."""
        return self._open(path, is_sequential=False) or super().open_input_file(path)

    def _ask(self, method: Any, what: Any) -> list[Any]:
        # Object stores cache listings; others may have written since.
        self.fs.invalidate_cache()
        return retrying(self._uri)(method, what)

    def _open(self, path: str, is_sequential: bool) -> pa.NativeFile | None:
        if isinstance(self.fs, LocalFileSystem):
            return None
        return pa.PythonFile(StoreFile(self.fs, path, is_sequential), mode="r")


@contextmanager
def open_stream(uri: str) -> Iterator[BinaryIO]:
    """The bytes of a file of ours, on this machine or in a store.

    Raises:
        UserError: if it cannot be read; PassingError where it may go well later.
    """
    path = local_path(uri)
    with clear_errors(uri), path.open("rb") if path else StoreFile(*resolve_once(uri)) as file:
        yield file
