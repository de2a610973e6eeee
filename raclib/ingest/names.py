"""Names and errors of files that rows are read from."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from raclib.corpus.files import clear_errors
from raclib.errors import UserError


def public_name(uri: str) -> str:
    """A path or URI without user, password and query, which may be secrets."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


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
