"""Rows as they came, kept beside the corpus under the ids that clients gave: small files, written
once.

Two kinds lie under `<corpus>/service`:

- `rows/`: labelled rows that a version of the corpus holds. The version names the last file, each
  file the one before: so a file is valid exactly if its rows are in the corpus. What a writer that
  died wrote, and did not publish, nobody finds.
- `remembered/`: rows without a label and what they were answered. Each file is valid once it is
  there.
"""

import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.corpus import Corpus
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import list_files, read_bytes
from raclib.errors import UserError

SERVICE = "service"
"""What a version says of the service: `rows`, the last file of its rows, and `corrects`, the last
one that corrects labels."""
_NAME = re.compile(r"(\d{8}-[0-9a-f]{12})-(\d{8}-[0-9a-f]{12})(-corrects)?\.arrow")
FIRST = "00000000-000000000000"


@dataclass(frozen=True)
class Entry:
    """A file of rows that one version of the corpus got.

    Attributes:
        own: The version, and a token.
        before: Those of the file before; `FIRST` for none.
        corrects: Whether some of its rows correct labels of earlier ones.
    """

    own: str
    before: str
    corrects: bool

    @classmethod
    def after(cls, corpus: Corpus, corrects: bool) -> Self:
        """A new one, for the version after this."""
        own = f"{corpus.version + 1:08d}-{secrets.token_hex(6)}"
        return cls(own, _said(corpus, "rows"), corrects)

    @property
    def version(self) -> int:
        """The version that got its rows."""
        return int(self.own.partition("-")[0])

    def said(self, corpus: Corpus) -> dict[str, Any]:
        """What the version says, that comes after this one."""
        last = self.own if self.corrects else last_correction(corpus)
        return {SERVICE: {"rows": self.own, "corrects": last}}

    @property
    def path(self) -> str:
        """Where it lies, under the corpus."""
        return f"{SERVICE}/rows/{self.own}-{self.before}{'-corrects' * self.corrects}.arrow"


def entries(corpus: Corpus) -> list[Entry]:
    """The files whose rows a version holds, the first one first.

    The last one of an older version may hold rows of later ones too.

    Raises:
        UserError: if one is missing.
    """
    found: dict[str, Entry] = {}
    for name in list_files(f"{corpus.uri}/{SERVICE}/rows"):
        if parts := _NAME.fullmatch(name):
            new = Entry(parts[1], parts[2], bool(parts[3]))
            # A merged file stands for its last one, and goes back further.
            found[new.own] = min(new, found.get(new.own, new), key=lambda each: each.before)
    chain, own = [], _said(corpus, "rows")
    while own != FIRST:
        one = found.get(own) or _covering(found.values(), own)
        if one is None:
            raise UserError(
                f"{corpus.uri}/{SERVICE}/rows: {own} is missing, which version {corpus.version} "
                "names; restore it"
            )
        chain.append(one)
        own = one.before
    return chain[::-1]


def last_correction(corpus: Corpus) -> str:
    """The last file that corrects labels, as a version says it."""
    return _said(corpus, "corrects")


def left_out(corpus: Corpus, since: int = 0) -> np.ndarray:
    """Rows of a version whose label another of its rows corrects: they are retrieved no more.

    Args:
        corpus: The version.
        since: Those that came with later versions than this.

    Returns:
        Their ids, int64, rising.

    Raises:
        UserError: if a file is missing or damaged.
    """
    parts = [np.empty(0, np.int64)]
    if int(last_correction(corpus).partition("-")[0]) > since:
        chain = [one for one in entries(corpus) if one.corrects and one.version > since]
        for one in chain:
            rows = read_rows(corpus.uri, one.path)
            parts.append(replaced(rows.filter(pc.less(rows["corpus_row"], len(corpus)))))
    return np.unique(np.concatenate(parts))


def replaced(rows: pa.Table) -> np.ndarray:
    """Rows of the corpus whose label rows of a file correct, int64."""
    return rows["replaces"].drop_null().to_numpy()


def new_remembered() -> str:
    """The path of a new file of remembered rows, under the corpus; later ones sort later."""
    return f"{SERVICE}/remembered/{time.time_ns():020d}-{secrets.token_hex(6)}.arrow"


def remembered(uri: str) -> Iterator[str]:
    """Paths of all files of remembered rows, under the corpus of a URI, the first one first."""
    for name in sorted(list_files(f"{uri}/{SERVICE}/remembered")):
        if name.endswith(".arrow"):
            yield f"{SERVICE}/remembered/{name}"


def write_rows(uri: str, path: str, rows: pa.Table) -> None:
    """Writes a file; it appears complete or not at all. Raises UserError if it cannot."""
    with write_atomic(f"{uri}/{path}") as file, pa.ipc.new_file(file, rows.schema) as out:
        out.write_table(rows)


def read_rows(uri: str, path: str) -> pa.Table:
    """Reads a file; raises UserError if it is missing or damaged."""
    data = read_bytes(f"{uri}/{path}")
    try:
        return pa.ipc.open_file(data).read_all()
    except pa.ArrowException as error:
        raise UserError(f"{uri}/{path}: damaged: {error}; restore it") from error


def _covering(found: Iterable[Entry], own: str) -> Entry | None:
    """A merged file of which the file of an older version is a part."""
    version = int(own[:8])
    parts = (one for one in found if int(one.before[:8]) < version < one.version)
    return next(parts, None)


def _said(corpus: Corpus, name: str) -> str:
    return corpus.provenance.get(SERVICE, {}).get(name, FIRST)
