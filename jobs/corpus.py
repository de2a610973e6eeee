#!/usr/bin/env python3
"""Looks after corpora: what is in one, is it whole, bring a table, take one away, tidy up."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

from jsonargparse import auto_cli
from tqdm import tqdm

from raclib.corpus import open_corpus
from raclib.corpus.compact import compact as compact_shards
from raclib.corpus.compact import count_merged
from raclib.corpus.orphans import find_orphans, remove
from raclib.corpus.tables import export_table, import_tables
from raclib.run.cli import one_line_errors


def info(uri: str, version: int | None = None) -> None:
    """Prints what a corpus holds.

    Args:
        uri: Folder or fsspec URI of the corpus.
        version: Version; by default the newest.
    """
    corpus = open_corpus(uri, version)
    print(f"{corpus.uri}: version {corpus.version}")
    print(f"  {len(corpus):,} rows in {len(corpus.shards):,} shards")
    if corpus.time_range:
        first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in corpus.time_range)
        print(f"  {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC")
    for name, field in corpus.fields.items():
        size = sum(shard.files[name].num_bytes for shard in corpus.shards)
        print(f"  {name}: {field.dtype} {list(field.shape)}, {size:,} bytes")
    print(f"  provenance: {json.dumps(corpus.provenance)}")


def verify(uri: str, version: int | None = None) -> None:
    """Reads every file and checks every checksum.

    Args:
        uri: Folder or fsspec URI of the corpus.
        version: Version; by default the newest.
    """
    corpus = open_corpus(uri, version)
    total = sum(info.num_bytes for shard in corpus.shards for info in shard.files.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc="verified") as bar:
        corpus.verify(bar.update)
    if "key_transform" in corpus.provenance:
        # Here, not above, as for rekey. It is read whole, and named by its checksum.
        from raclib.ingest.keys import KeyTransform

        KeyTransform.of(corpus)
    print(f"{corpus.uri}: version {corpus.version}: every checksum is right")


def gc(uri: str, min_age_hours: float = 24.0, dry_run: bool = False) -> None:
    """Removes files that belong to no version: what writers that died left behind.

    Args:
        uri: Folder or fsspec URI of the corpus.
        min_age_hours: Leave younger files: a writer may be about to publish them.
        dry_run: Only say what would be removed.
    """
    orphans = find_orphans(uri, min_age_hours * 3600)
    for path, size in orphans.items():
        print(f"{path} {size:,} bytes")
    if not dry_run:
        remove(uri, list(orphans))
    done = "to remove" if dry_run else "removed"
    print(f"{len(orphans)} files, {sum(orphans.values()):,} bytes {done}")


def import_(
    uri: str,
    tables: list[str],
    time_column: str = "time",
    rows_per_shard: int = 1_000_000,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Makes a corpus of Parquet or Arrow tables.

    Args:
        uri: Folder or fsspec URI of the corpus to make.
        tables: Parquet or Arrow files, in time order: '[a.parquet, b.parquet]'.
        time_column: Column that becomes `time`: milliseconds, or a timestamp.
        rows_per_shard: Rows of a shard.
        provenance: What made the rows.
    """
    print(import_tables(tables, uri, time_column, rows_per_shard, "create", provenance))


def append(
    uri: str, tables: list[str], time_column: str = "time", rows_per_shard: int = 1_000_000
) -> None:
    """Appends Parquet or Arrow tables to a corpus, as its next version.

    Args:
        uri: Folder or fsspec URI of the corpus.
        tables: Parquet or Arrow files, in time order: '[a.parquet, b.parquet]'.
        time_column: Column that is `time`: milliseconds, or a timestamp.
        rows_per_shard: Rows of a shard.
    """
    print(import_tables(tables, uri, time_column, rows_per_shard, "append"))


def rekey(
    uri: str,
    until: str | None = None,
    kind: Literal["first", "pca", "random", "supervised"] | None = None,
    dim: int | None = None,
    nca_dim: int | None = None,
    base_weight: float | None = None,
    time_linear: bool | None = None,
    metric_of: str | None = None,
) -> None:
    """Gives a corpus of a table or of reviews other keys, as its next version; older ones stay.

    What is not given stays as it is. A run is compared on no keys that saw labels known after the
    cutoff; models that are served read them.

    Args:
        uri: Folder or fsspec URI of the corpus.
        until: Fit keys on rows whose label was known before this: a date (UTC), or a number in the
            unit of the table's times. By default the cutoff of the corpus.
        kind: Kind of the keys.
        dim: Dimensions of the projection.
        nca_dim: Dimensions that supervised keys have beside these.
        base_weight: Root mean square distance of the base classifier's part; 0 for none.
        time_linear: Append the row's own time.
        metric_of: A model that was trained on this corpus with the reader copy, such as
            runs:/<run id>/model: what it learned to tell rows apart by takes the place of the
            dimensions that know labels.
    """
    # Here, not above: what makes corpora is slow to import, and one command needs it.
    from raclib.serving.rekey import Changes, rekey_corpus

    changes = Changes(kind, dim, nca_dim, base_weight, time_linear)
    print(rekey_corpus(open_corpus(uri), changes, until, metric_of))


def compact(uri: str, rows_per_shard: int = 100_000) -> None:
    """Merges small shards that follow one another, as the next version; older ones stay.

    Rows keep their ids. Others may read and append meanwhile.

    Args:
        uri: Folder or fsspec URI of the corpus.
        rows_per_shard: The most rows of a merged shard; larger shards stay as they are.
    """
    corpus = open_corpus(uri)
    total = count_merged(corpus, rows_per_shard)
    with tqdm(total=total, unit=" rows", desc="merged") as bar:
        found = compact_shards(corpus, rows_per_shard, bar.update)
    if found is corpus:
        print(f"{found}: nothing to merge")
    else:
        print(f"{found}: {len(corpus.shards):,} shards are now {len(found.shards):,}")


def export(uri: str, table: str, version: int | None = None) -> None:
    """Writes a corpus as one Parquet file.

    Args:
        uri: Folder or fsspec URI of the corpus.
        table: The Parquet file to write.
        version: Version; by default the newest.
    """
    export_table(open_corpus(uri, version), table)


COMMANDS: dict[str, Any] = {
    "info": info,
    "verify": verify,
    "gc": gc,
    "import": import_,
    "append": append,
    "compact": compact,
    "rekey": rekey,
    "export": export,
}

if __name__ == "__main__":
    with one_line_errors():
        auto_cli(COMMANDS)
