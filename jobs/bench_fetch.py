#!/usr/bin/env python3
"""Measures how fast rows are fetched, beside other ways of doing it; logged to MLflow."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import product
from pathlib import Path

import matplotlib
import pandas as pd
from jsonargparse import auto_cli
from jsonargparse.typing import PositiveFloat, PositiveInt
from matplotlib.figure import Figure
from tqdm import tqdm

from raclib.bench import fetch
from raclib.bench.contenders import Contender, local_contenders, remote_contenders
from raclib.corpus import Corpus
from raclib.corpus.manifest import MAX_ROWS
from raclib.run.cli import one_line_errors
from raclib.run.cluster import connect
from raclib.run.config import TrackingConfig, refuse_empty
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, track

matplotlib.use("Agg")
ID_KINDS: tuple[fetch.IdKind, ...] = ("uniform", "zipf")
NUM_SHARDS = 4


def run(
    folder: str = "runs/bench",
    remote: str | None = None,
    corpus_bytes: PositiveInt = 2**28,
    remote_bytes: PositiveInt = 2**24,
    remote_shard_bytes: PositiveInt = 2**20,
    row_bytes: list[PositiveInt] = [2, 2048, 16384],  # noqa: B006
    batch_rows: list[PositiveInt] = [64, 1024, 8192, 16384],  # noqa: B006
    seconds: PositiveFloat = 1.0,
    tracking: TrackingConfig = TrackingConfig(experiment="bench_fetch"),  # noqa: B008
) -> None:
    """Measures every contender on every kind of batch.

    Args:
        folder: Folder for the corpora to fetch from; those made by an earlier run are used again.
        remote: fsspec URI under which to try an object store too, e.g. s3://bucket/bench.
        corpus_bytes: Size of a corpus.
        remote_bytes: Size of a corpus on the object store.
        remote_shard_bytes: Size of a shard there.
        row_bytes: Sizes of a row.
        batch_rows: Rows of a fetch.
        seconds: Time for each contender and kind of batch.
        tracking: Where MLflow keeps the run.
    """
    refuse_empty(row_bytes=row_bytes, batch_rows=batch_rows)
    tracking = open_store(tracking)
    connect(1)
    found: list[fetch.Measurement] = []
    for width in row_bytes:
        uri = f"{folder}/rows{width}-{corpus_bytes}"
        corpus = fetch.make_corpus(uri, width, corpus_bytes, MAX_ROWS)
        part = -(-len(corpus) // NUM_SHARDS)
        sharded = fetch.make_corpus(f"{uri}-sharded", width, corpus_bytes, part)
        with ExitStack() as stack:
            contenders = local_contenders(corpus, sharded, stack)
            found += compare(corpus, contenders, batch_rows, seconds, cold=False)
        if remote:
            uri = f"{remote}/rows{width}-{remote_bytes}"
            corpus = fetch.make_corpus(uri, width, remote_bytes, -(-remote_shard_bytes // width))
            with tempfile.TemporaryDirectory() as cache:
                contenders = remote_contenders(corpus, Path(cache))
                found += compare(corpus, contenders, batch_rows, seconds, cold=True)
    table = pd.DataFrame([asdict(item) for item in found])
    ratios = fetch.ratios(table)
    print(table.to_string(index=False, float_format="%.3g"))
    print(ratios.to_string(float_format="%.2f", na_rep=""))
    params = {"remote": remote, "corpus_bytes": corpus_bytes, "remote_bytes": remote_bytes}
    params |= {"remote_shard_bytes": remote_shard_bytes, "seconds": seconds}
    with track(tracking, "bench_fetch", None, params, environment_tags()) as log:
        for item in found:
            name = f"{item.contender}/{item.ids}/{item.row_bytes}B/{item.batch_rows}".replace(
                " ", "_"
            )
            rates = {"p50_ms": item.p50_ms, "p99_ms": item.p99_ms, "rows_per_s": item.rows_per_s}
            log.log({f"{name}/{key}": value for key, value in rates.items()})
        log.log_table(table, "fetch")
        log.log_table(ratios.reset_index(), "ratios")
        log.log_figure(plot(table), "fetch")


def compare(
    corpus: Corpus,
    contenders: dict[str, Contender],
    batch_rows: list[int],
    seconds: float,
    cold: bool,
) -> Iterator[fetch.Measurement]:
    """Measures contenders on one corpus."""
    width = corpus.field("row").row_bytes
    for kind, size in tqdm(list(product(ID_KINDS, batch_rows)), desc=f"rows of {width} bytes"):
        ids = fetch.draw_ids(kind, len(corpus), size)
        for name, times in fetch.measure(contenders, ids, seconds, cold).items():
            yield fetch.summarise(name, kind, width, size, times)


def plot(table: pd.DataFrame) -> Figure:
    """Rows a second over batch size, a panel for each row size and kind of ids."""
    widths = sorted(table.row_bytes.unique())
    figure = Figure(figsize=(4 * len(widths), 7), layout="constrained")
    axes = figure.subplots(2, len(widths), sharex=True, squeeze=False)
    for (row, kind), (column, width) in product(enumerate(ID_KINDS), enumerate(widths)):
        panel = axes[row, column]
        chosen = table[(table.ids == kind) & (table.row_bytes == width)]
        for name, part in chosen.groupby("contender"):
            panel.loglog(part.batch_rows, part.rows_per_s, marker="o", label=name)
        panel.set(title=f"{kind} ids, rows of {width} B", xlabel="rows a fetch", ylabel="rows/s")
    axes[0, 0].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(run)
