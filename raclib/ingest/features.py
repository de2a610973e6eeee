"""Rows of a table as the arrays of a corpus; fitted on rows whose label was known at the cutoff."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from raclib.arrays import Arrays
from raclib.corpus import Field
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import read_bytes
from raclib.errors import UserError
from raclib.ingest.categories import frequent_values, to_codes, to_hashes
from raclib.ingest.columns import Column
from raclib.ingest.config import EncoderConfig
from raclib.ingest.embedding import TextEmbedder
from raclib.ingest.lists import list_width, to_matrix
from raclib.ingest.numbers import NumberEncoder, to_numbers
from raclib.ingest.survey import is_present

LISTS = ("embedding", "score")


@dataclass(frozen=True)
class FeatureEncoder:
    """Turns columns of a table into `numbers`, `categories`, `entities`, `embedding`, `score`.

    Attributes:
        roles: What each column that is read is taken as.
        numbers: Encoding of the numeric ones.
        categories: Values of each categorical one, the most frequent first.
        widths: Length of the lists of each embedding and score.
        encoder: What embeds texts.
    """

    roles: dict[str, str]
    numbers: NumberEncoder
    categories: dict[str, list[str]]
    widths: dict[str, int]
    encoder: EncoderConfig

    @classmethod
    def fit(
        cls, columns: Sequence[Column], sample: pa.Table, encoder: EncoderConfig
    ) -> "FeatureEncoder":
        """Fits the encoding.

        Args:
            columns: What each column is taken as. One that never varies in the sample is left out,
                unless it is a score: there is one a class, also for a class that is yet to come.
            sample: Rows whose label was known at the cutoff, with their `_event_time` in ms.
            encoder: What embeds texts.

        Raises:
            UserError: if nothing is left, or lists differ in length.
        """
        roles: dict[str, str] = {
            column.name: column.role
            for column in columns
            if column.role == "score"
            or (column.role != "ignore" and not is_constant(_values(column, sample)))
        }
        if not set(roles.values()) - {"score"}:
            raise UserError(
                "columns: none varies before the cutoff, nothing can be learned; give a later "
                "--cutoff, or other columns"
            )
        numbers = {name: to_numbers(sample, name) for name in _of(roles, "numeric")}
        return cls(
            roles,
            NumberEncoder.fit(numbers),
            {name: frequent_values(sample[name]) for name in _of(roles, "categorical")},
            {name: list_width(name, sample[name]) for role in LISTS for name in _of(roles, role)},
            encoder,
        )

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a row; those of roles that no column has are not there."""
        lists = {role: sum(self.widths[name] for name in self.of(role)) for role in LISTS}
        text_dim = self.text.load().dim if self.of("text") else 0
        found = {
            "numbers": ("float16", self.numbers.dim),
            "categories": ("int32", len(self.categories)),
            "entities": ("int64", len(self.of("entity"))),
            "embedding": ("float16", text_dim + lists["embedding"]),
            "score": ("float32", lists["score"]),
        }
        return {name: Field(dtype, (width,)) for name, (dtype, width) in found.items() if width}

    @property
    def num_codes(self) -> tuple[int, ...]:
        """Codes of each categorical column, that of missing and new values among them."""
        return tuple(len(values) + 1 for values in self.categories.values())

    @cached_property
    def text(self) -> TextEmbedder:
        """What embeds texts."""
        return TextEmbedder(self.encoder, self.of("text"))

    def of(self, role: str) -> list[str]:
        """Columns of a role, in the order of the table."""
        return _of(self.roles, role)

    def encode(self, table: pa.Table, device: str = "cpu") -> Arrays:
        """Arrays `[N, ...]` of `fields`.

        Args:
            table: The columns that are read, `_event_time` in ms, and `_line` where embeddings of
                texts were made before.
            device: Where texts are embedded.

        Raises:
            UserError: if a list is of another length or an embedding is not finite.
        """
        codes = [to_codes(table[name], known) for name, known in self.categories.items()]
        found = {
            "numbers": self._numbers(table),
            "categories": _stack(codes),
            "entities": _stack([to_hashes(table[name]) for name in self.of("entity")]),
            "embedding": self._embedding(table, device),
            "score": self._lists(table, "score"),
        }
        return {
            name: found[name].astype(field.dtype, copy=False) for name, field in self.fields.items()
        }

    def _numbers(self, table: pa.Table) -> np.ndarray:
        return self.numbers.encode({name: to_numbers(table, name) for name in self.of("numeric")})

    def _embedding(self, table: pa.Table, device: str) -> np.ndarray:
        limit = float(np.finfo(np.float16).max)
        lists = self._lists(table, "embedding")
        lists = np.nan_to_num(lists, nan=0.0, posinf=limit, neginf=-limit).clip(-limit, limit)
        if not self.of("text"):
            return lists
        return np.concatenate([self.text.embed(table, device), lists.astype(np.float16)], axis=1)

    def _lists(self, table: pa.Table, role: str) -> np.ndarray:
        parts = [to_matrix(name, table[name], self.widths[name]) for name in self.of(role)]
        return np.concatenate([np.empty((len(table), 0), np.float32), *parts], axis=1)

    def to_bytes(self) -> bytes:
        """The encoding as a .npz file, without pickle."""
        plain = {
            "roles": self.roles,
            "flagged": self.numbers.flagged,
            "categories": self.categories,
            "widths": self.widths,
            # Where embeddings once lay is of no use to a reader.
            "encoder": {**asdict(self.encoder), "precomputed": None},
        }
        quantiles = {f"quantiles {name}": part for name, part in self.numbers.quantiles.items()}
        file = io.BytesIO()
        np.savez(file, plain=np.array(json.dumps(plain)), **quantiles)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FeatureEncoder":
        """The inverse of `to_bytes`; raises ValueError, KeyError or BadZipFile if it is not one."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            plain = json.loads(str(file["plain"]))
            names = _of(plain["roles"], "numeric")
            quantiles = {name: file[f"quantiles {name}"] for name in names}
        return cls(
            plain["roles"],
            NumberEncoder(quantiles, tuple(plain["flagged"])),
            plain["categories"],
            plain["widths"],
            EncoderConfig(**plain["encoder"]),
        )

    def save(self, uri: str) -> None:
        """Writes it to `<uri>/features.npz`, `uri` being a corpus."""
        with write_atomic(_file_uri(uri)) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, uri: str) -> "FeatureEncoder":
        """Reads the encoding of a corpus; raises UserError if it is missing or damaged."""
        data = read_bytes(_file_uri(uri))
        try:
            return cls.from_bytes(data)
        except (BadZipFile, EOFError, ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{_file_uri(uri)}: damaged: {error}; remake the corpus") from error


def is_constant(values: pa.ChunkedArray) -> bool:
    """Whether all values are alike, or all missing; lists are not compared."""
    present = values.combine_chunks()
    present = present.filter(is_present(present))
    if types.is_nested(values.type):
        return not len(present)
    return len(pc.unique(present)) + (len(present) < len(values)) < 2


def _values(column: Column, sample: pa.Table) -> pa.ChunkedArray:
    """What a column is compared by: a date by its distance to the row's own time."""
    if column.role != "numeric":
        return sample[column.name]
    return pa.chunked_array([to_numbers(sample, column.name)])


def _of(roles: Mapping[str, str], role: str) -> list[str]:
    return [name for name, found in roles.items() if found == role]


def _stack(columns: list[np.ndarray]) -> np.ndarray:
    return np.stack(columns, axis=1) if columns else np.empty((0, 0))


def _file_uri(uri: str) -> str:
    return f"{uri}/features.npz"
