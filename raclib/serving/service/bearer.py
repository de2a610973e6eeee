"""The token that requests bring."""

import hmac
from base64 import b64decode
from binascii import Error
from pathlib import Path

from raclib.errors import UserError

MIN_LENGTH = 16


class Token:
    """A token from a file; it shows itself to nobody.

    Args:
        file: Text file that holds it, alone.

    Raises:
        UserError: if the file cannot be read, or what it holds is no token.
    """

    def __init__(self, file: str) -> None:
        try:
            self._bytes = Path(file).expanduser().read_text().strip().encode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise UserError(f"token_file: {file}: {reason}; give a file with a token") from None
        if len(self._bytes) < MIN_LENGTH or len(self._bytes.split()) > 1:
            raise UserError(
                f"token_file: {file}: needs one word of at least {MIN_LENGTH} characters, such as "
                "`openssl rand -hex 32` gives"
            )

    def __repr__(self) -> str:
        return "Token(...)"

    def is_in(self, authorization: str) -> bool:
        """Whether a header brings it: as a bearer token, or as a password, as browsers ask for."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = b64decode(given, validate=True).decode().partition(":")[2]
            except (Error, UnicodeDecodeError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self._bytes)
