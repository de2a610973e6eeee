"""What a file is: its format and compression, by its name and its first bytes."""

import codecs
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.locations import file_name
from raclib.ingest.opening import open_file
from raclib.ingest.text import open_text

FormatName = Literal["Parquet", "Arrow file", "Arrow stream", "CSV", "JSON lines"]
HEAD_BYTES = 2**16
KNOWN = "give Parquet, CSV, JSON lines or Arrow IPC (text also as gzip, bz2 or zstd)"
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_COMPRESSION_ENDINGS = {".gz", ".bz2", ".zst", ".zstd", ".gzip"}
_BINARY: dict[bytes, FormatName] = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow file",
    b"\xff\xff\xff\xff": "Arrow stream",
}
BINARY = "binary data"
_TEXT_ENDINGS = {".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json"}
# What people give by mistake.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (git lfs pull gets it)",
    b"PK\x03\x04": "a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"FEA1": "a Feather file of version 1",
    b"\x80\x02": "a pickle, which is never opened",
    b"\x80\x03": "a pickle, which is never opened",
    b"\x80\x04": "a pickle, which is never opened",
    b"\x80\x05": "a pickle, which is never opened",
    b"PARE": "encrypted Parquet",
}


@dataclass(frozen=True)
class Kind:
    """Format of a file, its compression, and the character between a CSV's columns."""

    format: FormatName
    compression: str | None = None
    delimiter: str = ","


def kind_of(uri: str) -> Kind:
    """What a file is.

    Endings count, and first bytes where an ending is missing or does not tell the truth.

    Raises:
        UserError: if it is empty, or not a format that is read; says what it looks like.
    """
    name = public_name(uri)
    head, compression = read_head(uri)
    if not head:
        what = f"nothing inside the {compression} file" if compression else "an empty file"
        raise UserError(f"{name}: {what}; {KNOWN}")
    kind = _kind_of_head(head, uri)
    if compression and kind.format not in ("CSV", "JSON lines"):
        raise UserError(f"{name}: {kind.format} inside {compression}; unpack it first")
    return Kind(kind.format, compression, kind.delimiter)


def read_head(uri: str) -> tuple[bytes, str | None]:
    """The first bytes of a file, unpacked, and how it is packed.

    Raises:
        UserError: if it cannot be read, or unpacked.
    """
    with open_file(uri) as file:
        head = file.read(HEAD_BYTES)
    compression = next((c for magic, c in _COMPRESSIONS.items() if head.startswith(magic)), None)
    if compression:
        with open_text(uri, compression) as text:
            head = text.read(HEAD_BYTES)
    return head, compression


def _kind_of_head(head: bytes, uri: str) -> Kind:
    for magic, form in _BINARY.items():
        if head.startswith(magic):
            return Kind(form)
    other = looks_like(head)
    if other:
        raise UserError(f"{public_name(uri)}: looks like {other}; {KNOWN}")
    ending = _ending(uri)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"{"):
        return Kind("JSON lines")
    if text.startswith(b"[") and ending not in (".csv", ".tsv", ".tab", ".txt"):
        raise UserError(
            f"{public_name(uri)}: looks like one JSON array; give JSON lines, one object a row"
        )
    header = text.split(b"\n", 1)[0].decode(errors="replace")
    delimiter = max(",\t;|", key=header.count)
    if ending in (".tsv", ".tab"):
        delimiter = "\t"
    known = ending in _TEXT_ENDINGS and "json" not in ending
    if ending in (".parquet", ".pq", ".arrow", ".feather", ".ipc"):
        raise UserError(f"{public_name(uri)}: text, and no {ending[1:]} file; {KNOWN}")
    if not known and delimiter not in header:
        raise UserError(f"{public_name(uri)}: of an unknown format; {KNOWN}")
    return Kind("CSV", delimiter=delimiter)


def looks_like(head: bytes) -> str | None:
    """What a file is that holds no rows of text."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:512].lower()
    if start.startswith(b"<"):
        return "an HTML page" if b"<html" in start or b"doctype html" in start else "XML"
    if head.startswith(b"PK\x03\x04") and (b"xl/" in head or b"[Content_Types].xml" in head):
        return "an Excel workbook (save it as CSV)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    for magic, what in {**_BINARY, **_OTHERS}.items():
        if head.startswith(magic):
            return what
    # Every second byte of plain text is zero then.
    has_mark = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and 0 in head
    if has_mark or any(set(head[first:64:2]) == {0} for first in (2, 3)):
        return "UTF-16 text, which must be UTF-8"
    return BINARY if 0 in head else None


def _ending(uri: str) -> str:
    """A file's ending in small letters, under that of its compression."""
    path = PurePosixPath(file_name(uri).lower())
    return PurePosixPath(path.stem).suffix if path.suffix in _COMPRESSION_ENDINGS else path.suffix
