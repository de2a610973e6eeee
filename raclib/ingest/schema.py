"""What turning rows into a corpus asks of a task: where rows come from and what they become."""

from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa

from raclib.arrays import Arrays
from raclib.corpus import Field
from raclib.ingest.keys import KeyTransform
from raclib.ingest.staging import Layout, Staging
from raclib.ingest.tally import Tally


class Source(Protocol):
    """Rows in some order. Picklable."""

    def batches(self, tally: Tally) -> Iterator[pa.Table]:
        """Rows with the columns of the recipe; counts what it reads and skips."""
        ...


class RowEncoder(Protocol):
    """Turns rows into arrays. Picklable; loads weights where it is used.

    Attributes:
        columns: Columns that it reads.
        batch_rows: Rows that it takes at a time.
        has_weights: Whether it loads a network, which wants an actor, and a GPU if there is one.
        is_local: Whether it reads a file that only this machine may see.
        revision: Version of what encodes; known once a row was.
        fields: The arrays of a row, without its key and `time`; known once a row was encoded.
    """

    @property
    def columns(self) -> list[str]: ...  # noqa: D102
    @property
    def batch_rows(self) -> int: ...  # noqa: D102
    @property
    def has_weights(self) -> bool: ...  # noqa: D102
    @property
    def is_local(self) -> bool: ...  # noqa: D102
    @property
    def revision(self) -> str: ...  # noqa: D102
    @property
    def fields(self) -> dict[str, Field]: ...  # noqa: D102

    def encode(self, rows: pa.Table, device: str) -> Arrays:
        """Arrays `[N, ...]` of `fields`; raises UserError if a row cannot be encoded."""
        ...


class Recipe(Protocol):
    """A corpus to be made.

    Attributes:
        corpus_uri: Where.
        rows_per_shard: Rows of a shard; the last one has fewer.
        noun: What one row is called, in messages and in files.
        cutoff_name: Setting that holds the cutoff.
        cutoff: Time in ms; whatever is fitted sees only rows before it.
        columns: What is kept of a row between reading and encoding, `LINE` among it.
        time: The column that the corpus is sorted by, int64, ms since 1970.
    """

    corpus_uri: str
    rows_per_shard: int
    noun: str
    cutoff_name: str

    @property
    def cutoff(self) -> int: ...  # noqa: D102
    @property
    def columns(self) -> pa.Schema: ...  # noqa: D102
    @property
    def time(self) -> str: ...  # noqa: D102

    def describe(self, is_published: bool) -> dict[str, Any]:
        """What is known of the corpus beforehand; two that differ are two corpora.

        What matters to its keys only is called `key`. A corpus that is published needs its rows no
        more.
        """
        ...

    def found(self) -> dict[str, Any]:
        """What reading the rows told, for the corpus to say of itself."""
        ...

    def fetch(self) -> Source:
        """The rows, with their files at hand."""
        ...

    def check(self, layout: Layout) -> None:
        """Raises UserError if the rows that were read do not fit the rest."""
        ...

    def fit_encoder(self, staging: Staging, layout: Layout) -> RowEncoder:
        """What encodes rows, fitted on sorted rows before the cutoff, or on nothing."""
        ...

    def fit_keys(self, sample: Arrays, layout: Layout) -> KeyTransform:
        """What makes keys, fitted on rows from before the cutoff.

        Args:
            sample: Some of them, all fields of each.
            layout: What sorting found.
        """
        ...
