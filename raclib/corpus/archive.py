"""Files that torch writes are zip archives, whose checksums torch itself does not look at."""

import zipfile
from pathlib import Path
from typing import IO


def is_whole(file: Path | IO[bytes]) -> bool:
    """Whether an archive is as it was written, by the checksums in it."""
    try:
        with zipfile.ZipFile(file) as parts:
            return parts.testzip() is None
    except Exception:  # of many kinds, by where it is cut or changed
        return False
