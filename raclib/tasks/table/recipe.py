"""How a table becomes a corpus: what its columns are, what is fitted on what was known."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.files import normalise
from raclib.corpus.stream import open_stream
from raclib.errors import UserError
from raclib.ingest.columns import Column, choose_columns
from raclib.ingest.encode import sample_rows
from raclib.ingest.encoders import check_encoder, describe_encoder
from raclib.ingest.features import FeatureEncoder
from raclib.ingest.files import TableFiles
from raclib.ingest.find import find_files
from raclib.ingest.guards import delay_bias, given_away
from raclib.ingest.keys import KeyTransform, describe_keys
from raclib.ingest.precomputed import PrecomputedEmbeddings, describe_precomputed
from raclib.ingest.prepare import prepare
from raclib.ingest.rows import save_schema
from raclib.ingest.show import new_classes, show_columns, show_labels
from raclib.ingest.sources import describe_files, fetch_files
from raclib.ingest.staging import Layout, Staging
from raclib.ingest.table import KNOWN, LABEL, TableEncoder, TableSource, look
from raclib.ingest.timeline import Roles, Timeline
from raclib.run.terminal import warn
from raclib.tasks.table.config import TableConfig

ENCODE_ROWS = 32_768


@dataclass(frozen=True)
class About:
    """What a corpus says of the table it was made of.

    Attributes:
        classes: Names of the classes.
        cutoff: ms since 1970.
        num_unlabelled: Rows without a label.
        given_away: What is to be said of columns that all but give the label away.
    """

    classes: tuple[str, ...]
    cutoff: int
    num_unlabelled: int
    given_away: tuple[str, ...]

    @classmethod
    def of(cls, corpus: Corpus) -> "About":
        """What the corpus of a table says."""
        found = corpus.provenance["table"]
        sizes = found["cutoff_ms"], found["num_unlabelled"]
        return cls(tuple(found["classes"]), *sizes, tuple(found["given_away"]))


def prepare_table(config: TableConfig) -> Corpus:
    """The corpus of a configuration; made from its table unless it is there.

    Fields: those of `FeatureEncoder`, `label` int16, `event_time` int64, the time of the row, and
    `time` int64, the time at which its label was known, which is the order of the rows; `key`.
    See `ingest.prepare`.

    Raises:
        UserError: also with `strict`, for a column that all but gives the label away.
    """
    corpus = prepare(TableRecipe(config))
    # The corpus may have been made without `strict`.
    _refuse(About.of(corpus).given_away, config.strict)
    return corpus


class TableRecipe:
    """How a configuration makes a corpus of a table: see `ingest.schema.Recipe`."""

    noun, cutoff_name, time = "row", "cutoff", KNOWN

    def __init__(self, config: TableConfig) -> None:
        file = config.encoder.precomputed
        # Workers run in folders of their own.
        self.encoder = replace(config.encoder, precomputed=normalise(file) if file else None)
        self.config = replace(config, storage_path=normalise(config.storage_path))
        self.corpus_uri, self.rows_per_shard = config.corpus_uri, config.rows_per_shard
        self._given_away: list[str] = []
        self.roles = Roles(config.time, config.label, config.label_time, config.time_unit)

    @cached_property
    def files(self) -> TableFiles:
        """The files, those of the web as local copies."""
        return TableFiles(tuple(fetch_files(self._given, self._downloads)))

    @cached_property
    def _given(self) -> tuple[str, ...]:
        if not self.config.data:
            raise UserError("data: no table is given; name its files with --data")
        return find_files(self.config.data)

    @property
    def _downloads(self) -> str:
        return f"{self.config.storage_path}/downloads"

    @cached_property
    def _looked(self) -> tuple[list[Column], Timeline, int]:
        """What the columns are, all times and the cutoff in ms, after one pass; printed once."""
        surveys, timeline = look(self.files, self.roles)
        columns = choose_columns(surveys, self.config.columns, self.roles.reserved)
        cutoff = timeline.cutoff(self.config.cutoff)
        show_columns(columns, surveys)
        show_labels(timeline, cutoff)
        warn(delay_bias(timeline, cutoff))
        return columns, timeline, cutoff

    @property
    def cutoff(self) -> int:
        """The cutoff in ms."""
        return self._looked[2]

    @property
    def columns(self) -> pa.Schema:
        """What is kept of a row until it is encoded."""
        return self._source.schema

    @cached_property
    def _source(self) -> TableSource:
        columns, timeline, _ = self._looked
        used = tuple(column.name for column in columns if column.role != "ignore")
        return TableSource(self.files, self.roles, used, timeline.classes, self.config.strict)

    def describe(self, is_published: bool) -> dict[str, Any]:
        """Columns and their roles, encoder, keys, cutoff; the files."""
        request = {
            "encoder": describe_encoder(self.encoder),
            "key": describe_keys(self.config.key),
            "cutoff": self.config.cutoff,
            "roles": asdict(self.roles),
            "columns": asdict(self.config.columns),
            **describe_precomputed(self.encoder, self._downloads, is_published),
        }
        if self.config.data or not is_published:
            request["data"] = describe_files(self._given, self._downloads, is_published)
        return request

    def found(self) -> dict[str, Any]:
        """Names of the classes, those that are new after the cutoff, rows left out."""
        timeline = self._looked[1]
        said = {
            "classes": list(timeline.classes.names),
            "cutoff_ms": self.cutoff,
            "new_classes": new_classes(timeline, self.cutoff),
            "num_unlabelled": timeline.num_unlabelled,
            "num_early_labels": timeline.num_early,
            "given_away": self._given_away,
        }
        return {"table": said}

    def fetch(self) -> TableSource:
        """The rows that can be retrieved."""
        if any(column.role == "text" for column in self._looked[0]):
            check_encoder(self.encoder)
        return self._source

    def check(self, layout: Layout) -> None:
        """There must be an embedding for each row that was read."""
        if file := self.encoder.precomputed:
            PrecomputedEmbeddings(file).check(layout.num_lines, self.encoder, "files")

    def fit_encoder(self, staging: Staging, layout: Layout) -> TableEncoder:
        """The encoding, fitted on a sample of rows whose label was known at the cutoff."""
        sample = read_sorted(staging, layout, sample_rows(layout.num_before))
        columns = [column for column in self._looked[0] if column.role != "ignore"]
        self._guard(columns, sample)
        features = FeatureEncoder.fit(columns, sample, self.encoder)
        left_out = [column.name for column in columns if column.name not in features.roles]
        if left_out:
            warn(f"columns: {', '.join(left_out)}: constant before the cutoff, so left out")
        features.save(staging.corpus_uri)
        used = {**self.roles.reserved, **features.roles}
        given = self.files.schema()
        save_schema(staging.corpus_uri, pa.schema([field for field in given if field.name in used]))
        rows = 4 * self.encoder.batch_size if features.of("text") else ENCODE_ROWS
        return TableEncoder(features, rows)

    def fit_keys(self, sample: Arrays, layout: Layout) -> KeyTransform:
        """Keys of all columns; no wider than these are."""
        key, label = self.config.key, sample["label"].astype(np.int64)
        return KeyTransform.fit(
            key,
            sample,
            layout.first,
            self.cutoff,
            label,
            entity_weight=key.entity_weight,
            at_most=True,
        )

    def _guard(self, columns: list[Column], sample: pa.Table) -> None:
        label = sample[LABEL].to_numpy().astype(np.int64)
        self._given_away = [
            f"column {name!r} all but gives the label away: {how}; if it is known only after the "
            f"label, leave it out with --columns.ignore [{name}]"
            for name, how in given_away(columns, sample, label).items()
        ]
        _refuse(self._given_away, self.config.strict)
        for message in self._given_away:
            warn(message)


def _refuse(messages: Sequence[str], strict: bool) -> None:
    if strict and messages:
        raise UserError(f"{messages[0]} (--strict refuses it)")


def read_sorted(staging: Staging, layout: Layout, rows: np.ndarray) -> pa.Table:
    """Sorted rows by their number, rising."""
    return pa.concat_tables(_read_parts(staging, layout, rows))


def _read_parts(staging: Staging, layout: Layout, rows: np.ndarray) -> Iterator[pa.Table]:
    start = 0
    for shard, num_rows in enumerate(layout.num_rows):
        wanted = rows[(rows >= start) & (rows < start + num_rows)]
        if len(wanted):
            with open_stream(staging.rows_uri(shard)) as file:
                for part in pq.ParquetFile(file).iter_batches(65_536):
                    mine = wanted[(wanted >= start) & (wanted < start + len(part))] - start
                    yield pa.table(part.take(pa.array(mine)))
                    start += len(part)
        else:
            start += num_rows
