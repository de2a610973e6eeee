"""JSON objects that end with a checksum of all that stands before it."""

import re

from xxhash import xxh3_128_hexdigest

from raclib.errors import UserError

_SEALED = re.compile(rb'(.*),\n "checksum": "([0-9a-f]{32})"\n}', re.DOTALL)


def seal(data: bytes) -> bytes:
    """An object, written with an indent of 1, with a checksum as its last entry."""
    body = data.removesuffix(b"\n}")
    return body + f',\n "checksum": "{xxh3_128_hexdigest(body)}"\n}}'.encode()


def unseal(data: bytes, name: str) -> bytes:
    """The object without its checksum; data as it is where it ends with none.

    Raises:
        UserError: if the checksum is another one; the message starts with `name`.
    """
    found = _SEALED.fullmatch(data)
    if not found:
        return data
    if xxh3_128_hexdigest(found[1]).encode() != found[2]:
        raise UserError(f"{name}: checksum mismatch; restore the file")
    return found[1] + b"\n}"
