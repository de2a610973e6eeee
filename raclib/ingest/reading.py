"""What a file system complains of while rows are read, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from raclib.corpus.files import clear_errors
from raclib.errors import UserError


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns what a file system complains of while a file is read into one line."""
    with clear_errors(name):
        try:
            yield
        except FileNotFoundError:
            raise UserError(f"{name}: no such file; check the path") from None
        except IsADirectoryError:
            raise UserError(f"{name}: a folder; give its files, one by one") from None
