"""Small files of the journal become larger ones, so that a restart reads few."""

import re
import secrets
import time
from collections.abc import Sequence

import pyarrow as pa

from raclib.corpus import Corpus
from raclib.corpus.files import ask, list_files
from raclib.serving.service.index import Index
from raclib.serving.service.journal import SERVICE, Entry, entries, read_rows, write_rows

SMALL_BYTES = 2**20
MIN_FILES = 32
SETTLED_S = 60.0
"""Younger files of remembered rows stay: their writer may not know them yet."""
_REMEMBERED = re.compile(r"(\d{20})-[0-9a-f]{12}\.arrow")


def merge_rows(corpus: Corpus, index: Index) -> None:
    """Merges the last files of labelled rows, and removes those that were merged before.

    Nothing may be added meanwhile. A merged file stands for the last of its files, and names the
    one before the first; a reader finds either, so those stay until the next time.

    Raises:
        UserError: if a file cannot be read or written.
    """
    chain = entries(corpus)
    sizes = list_files(f"{corpus.uri}/{SERVICE}/rows")
    kept = {one.path.rpartition("/")[2] for one in chain}
    for name in sizes.keys() - kept:
        if int(name[:8]) <= corpus.version:
            ask(f"{corpus.uri}/{SERVICE}/rows/{name}", "rm_file")
    last: list[Entry] = []
    while chain and sizes[chain[-1].path.rpartition("/")[2]] < SMALL_BYTES:
        last.insert(0, chain.pop())
    if len(last) >= MIN_FILES:
        merged = Entry(last[-1].own, last[0].before, any(one.corrects for one in last))
        _merge(corpus.uri, [one.path for one in last], merged.path, index)


def merge_remembered(uri: str, index: Index) -> None:
    """Merges small files of remembered rows.

    Each row is in one of the files all the time, or in two.

    Raises:
        UserError: if a file cannot be read or written.
    """
    settled_ns = time.time_ns() - int(SETTLED_S * 1e9)
    found = sorted(list_files(f"{uri}/{SERVICE}/remembered").items())
    small = [
        f"{SERVICE}/remembered/{name}"
        for name, size in found
        if size < SMALL_BYTES and (parts := _REMEMBERED.fullmatch(name))
        if int(parts[1]) < settled_ns
    ]
    if len(small) >= MIN_FILES:
        stem = small[-1].rpartition("-")[0]
        _merge(uri, small, f"{stem}-{secrets.token_hex(6)}.arrow", index)
        for path in small:
            ask(f"{uri}/{path}", "rm_file")


def _merge(uri: str, paths: Sequence[str], merged: str, index: Index) -> None:
    tables = [read_rows(uri, path) for path in paths]
    write_rows(uri, merged, pa.concat_tables(tables))
    place = 0
    for path, rows in zip(paths, tables, strict=True):
        index.move(rows["id"].to_pylist(), path, merged, place)
        place += len(rows)
