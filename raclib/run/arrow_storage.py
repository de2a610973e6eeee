"""Ray on the very file system and path that everything else of a run is kept by."""

import io
import sys
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import PyFileSystem

from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import clear_errors, local_path, remove_folder, resolve
from raclib.corpus.stream import StoreHandler
from raclib.errors import UserError

RECORD = "checkpoint_manager_snapshot.json"
"""Of the checkpoints of a training, by Ray Train."""


def arrow_storage(uri: str) -> tuple[PyFileSystem, str]:
    """The file system of a folder or URI and the path in it, as Ray Train and Ray Data take them.

    From a URI alone they ask pyarrow, to which `#`, `?`, `%` and a space mean something else
    than to fsspec: settings and checkpoints would lie in two places, rows on some local disk.
    """
    return PyFileSystem(_Handler(uri)), resolve(uri)[1]


class _Handler(StoreHandler):
    """Files are whole or not there, and no name is a pattern."""

    def create_dir(self, path: str, recursive: bool) -> None:
        # Object stores have no folders: s3fs would make a bucket where there is none.
        if isinstance(self.fs, LocalFileSystem):
            super().create_dir(path, recursive)

    def delete_dir(self, path: str) -> None:
        remove_folder(self.fs.unstrip_protocol(path))

    def open_output_stream(self, path: str, metadata: Any) -> pa.PythonFile:
        uri = self.fs.unstrip_protocol(path)
        return pa.PythonFile(_WholeFile(str(local_path(uri) or uri)), mode="w")


class _WholeFile(io.BytesIO):
    """A small file that appears when it is closed, complete or not at all."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def close(self) -> None:
        if self.closed:
            return
        try:
            with clear_errors(self._uri), write_atomic(self._uri) as file:
                file.write(self.getvalue())
        except UserError as error:
            if not self._uri.endswith(f"/{RECORD}"):
                raise
            # Raised it would end training, and nothing needs it: folders tell of checkpoints too.
            print(f"{error}; training goes on without it", file=sys.stderr, flush=True)
        finally:
            super().close()
