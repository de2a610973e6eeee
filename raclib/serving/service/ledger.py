"""A corpus to which rows are added one version at a time, each row once; what a restart finds."""

from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclib.arrays import Arrays
from raclib.corpus import open_corpus
from raclib.corpus.append import append_shard
from raclib.corpus.compact import merge_shards, publish_merged
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.append import Appender
from raclib.serving.service.asked import Done, NewLabels, NewRows, OtherRowError, Remember
from raclib.serving.service.index import Index, Known
from raclib.serving.service.journal import (
    Entry,
    entries,
    new_remembered,
    read_rows,
    remembered,
    replaced,
    write_rows,
)
from raclib.serving.service.outcomes import METHODS, Outcomes
from raclib.serving.service.part import Part, from_labels, from_rows
from raclib.serving.service.tidy import merge_remembered, merge_rows

MERGED_ROWS = 100_000
"""Rows of a shard into which small ones are merged, at most."""
Request = NewRows | NewLabels
Outcome = list[Part | UserError]


class Ledger:
    """Takes in rows and labels; everything it says is done is on storage.

    A version is made in this order: the file of its rows, its shard, its manifest, which names the
    file. Whatever a crash leaves unsaid, a file or a shard, no version names. For several threads.

    Args:
        uri: Folder or URI of the corpus of a table.

    Attributes:
        corpus: The newest version.
        outcomes: How served answers did.

    Raises:
        UserError: if the corpus or a file beside it is missing or damaged.
    """

    def __init__(self, uri: str) -> None:
        self.corpus = open_corpus(uri)
        self._appender = Appender.of(self.corpus)
        self._index, self._lock = Index(), Lock()
        self.outcomes = Outcomes(len(self._appender.reader.classes.names))
        for path in remembered(self.corpus.uri):
            self._index.put(read_rows(self.corpus.uri, path), path)
        for entry in entries(self.corpus):
            self._take_in(entry, read_rows(self.corpus.uri, entry.path))

    def remember(self, asked: Sequence[Remember]) -> list[UserError | None]:
        """Keeps rows and their answers, so that labels may come later.

        Returns:
            What is wrong with each; None where it is kept.

        Raises:
            UserError: if they cannot be kept.
        """
        known = self._index.find([name for one in asked for name in one.ids])
        wrong = [_other_row(one, known) for one in asked]
        rows = [_remembered(one, known) for one, no in zip(asked, wrong, strict=True) if not no]
        if sum(map(len, rows)):
            path, table = new_remembered(), pa.concat_tables(rows)
            write_rows(self.corpus.uri, path, table)
            self._index.put(table, path)
        return wrong

    def commit(self, asked: Sequence[Request]) -> list[Done | UserError]:
        """Publishes a version with the rows of requests, in their order.

        Returns:
            What came of the first requests, at least of one. A request that comes to an id again,
            and those after it, are for the next version.

        Raises:
            UserError: if it cannot be published. What of it is on storage is not known then: go on
                with a new ledger.
        """
        with self._lock:
            parts, arrays = self._encode(self._parts(asked))
            if arrays:
                self._publish(_with_rows(parts), arrays)
            return [self._said(part) for part in parts]

    @property
    def num_small(self) -> int:
        """Shards that could be merged into fewer."""
        return sum(shard.num_rows < MERGED_ROWS // 2 for shard in self.corpus.shards)

    def merge(self) -> None:
        """Publishes a version of the same rows in fewer shards, and merges files beside it.

        Commits may go on meanwhile.

        Raises:
            UserError: if it cannot be published; see `commit`.
        """
        merged = merge_shards(self.corpus, MERGED_ROWS)
        with self._lock:
            if merged:
                self.corpus = publish_merged(self.corpus.uri, merged)
            merge_rows(self.corpus, self._index)
            merge_remembered(self.corpus.uri, self._index)

    def _parts(self, asked: Sequence[Request]) -> Outcome:
        """Parts of the first requests, or what is wrong with them."""
        parts: Outcome = []
        seen: set[str] = set()
        for one in asked:
            if not seen.isdisjoint(one.ids):
                break
            seen.update(one.ids)
            try:
                parts.append(self._part(one))
            except UserError as error:
                parts.append(error)
        return parts

    def _part(self, one: Request) -> Part:
        if isinstance(one, NewRows):
            return from_rows(one, self._index, self._appender)
        return from_labels(one, self._index, self._appender, self.corpus.uri)

    def _encode(self, parts: Outcome) -> tuple[Outcome, Arrays]:
        """The arrays of all parts; those that cannot be encoded become errors."""
        mine = _with_rows(parts)
        if not mine:
            return parts, {}
        rows = pa.concat_tables(part.rows for part in mine)
        known = np.concatenate([part.known for part in mine])
        try:
            return parts, self._appender.encode(rows, known)
        except UserError:
            checked = [self._check(part) for part in parts]
            if len(_with_rows(checked)) == len(mine):
                raise  # it is not the rows that are wrong
            return self._encode(checked)

    def _check(self, part: Part | UserError) -> Part | UserError:
        """A part, or what is wrong with its rows."""
        if isinstance(part, Part):
            try:
                self._appender.encode(part.rows, part.known)
            except UserError as error:
                return error
        return part

    def _publish(self, parts: list[Part], rows: Arrays) -> None:
        if self.corpus.time_range:
            # A label that comes late is known from the newest one on: no earlier answer saw it.
            rows[TIME] = np.maximum(rows[TIME], self.corpus.time_range[1])
        order = np.argsort(rows[TIME], kind="stable")
        rows = {name: array[order] for name, array in rows.items()}
        table = pa.concat_tables(part.journal() for part in parts).take(pa.array(order))
        table = table.append_column("label", pa.array(rows["label"].astype(np.int64)))
        first, entry = len(self.corpus), Entry.after(self.corpus, len(replaced(table)) > 0)
        table = table.append_column("corpus_row", pa.array(np.arange(first, first + len(order))))
        write_rows(self.corpus.uri, entry.path, table)
        self.corpus = append_shard(self.corpus, rows, entry.said(self.corpus))
        self._take_in(entry, table)
        placed = dict(zip(table["id"].to_pylist(), table["corpus_row"].to_pylist(), strict=True))
        for part in parts:
            part.there.update({name: placed[name] for name in part.ids})

    def _said(self, part: Part | UserError) -> Done | UserError:
        if isinstance(part, UserError):
            return part
        return Done(self.corpus.version, [part.there[name] for name in part.asked])

    def _take_in(self, entry: Entry, rows: pa.Table) -> None:
        """Rows that a version holds: their ids and outcomes."""
        self._index.put(rows, entry.path)
        answered = rows.filter(pc.is_valid(rows["answers"]))
        if len(answered):
            flat = answered["answers"].combine_chunks().flatten().to_numpy()
            answers_NMC = flat.reshape(len(answered), len(METHODS), -1)
            self.outcomes.add(answered["label"].to_numpy(), answers_NMC)


def _with_rows(parts: Outcome) -> list[Part]:
    return [part for part in parts if isinstance(part, Part) and part.ids]


def _other_row(asked: Remember, known: Mapping[str, Known]) -> UserError | None:
    for name, digest in zip(asked.ids, asked.digests, strict=True):
        if name in known and known[name].digest != digest:
            return OtherRowError(f"id {name!r}: another row is known under it; give another id")
    return None


def _remembered(asked: Remember, known: Mapping[str, Known]) -> pa.Table:
    """The rows of a request that are not known yet, as the journal keeps them."""
    flat = pa.array(asked.answers_NMC.reshape(-1))
    bounds = np.arange(len(asked.ids) + 1, dtype=np.int32) * (len(flat) // len(asked.ids))
    named = {
        "id": pa.array(asked.ids, pa.string()),
        "digest": pa.array(asked.digests, pa.string()),
        "row": asked.rows.to_struct_array().combine_chunks(),
        "answers": pa.ListArray.from_arrays(pa.array(bounds), flat),
        "version": pa.array([asked.version] * len(asked.ids)),
    }
    return pa.table(named).filter(pa.array([name not in known for name in asked.ids]))
