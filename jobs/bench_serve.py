#!/usr/bin/env python3
"""Measures a service: answers that come one by one, batches, appends beside them; to MLflow."""

import asyncio
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from matplotlib.figure import Figure

from raclib.bench.ingest import write_table
from raclib.bench.serve import Load, Offered, bodies, enlarge
from raclib.corpus import Corpus, open_corpus
from raclib.ingest.rows import RowReader
from raclib.run.cli import main
from raclib.run.cluster import connect
from raclib.run.config import TrackingConfig
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, flatten, track
from raclib.serving.service.config import LimitsConfig, ServeConfig
from raclib.tasks.table.config import (
    TableConfig,
    TableDrawConfig,
    TableFitConfig,
    TableKeyConfig,
    TableSplitConfig,
)

matplotlib.use("Agg")
DAY_MS = 86_400_000
TABLE_COLUMNS = 25


@dataclass
class ServeBenchConfig:
    """A table model that is trained on few generated rows, and its corpus, which is enlarged."""

    num_rows: PositiveInt = 100_000
    """Rows of the corpus that is served."""
    trained_rows: PositiveInt = 5_000
    """Rows of the table that the model is trained on."""
    num_epochs: PositiveInt = 1
    """Passes of the training: what the model has learned does not matter."""
    key_dim: PositiveInt = 64
    """Numbers of a key, at most."""
    rate: PositiveFloat = 20.0
    """Predictions of one row that are asked for a second."""
    seconds: PositiveFloat = 30.0
    """Seconds that each measurement lasts ..."""
    append_seconds: PositiveFloat = 60.0
    """... and that of appends with predictions beside them."""
    append_rate: PositiveFloat = 2_000.0
    """Rows that are appended a second, in requests of `append_rows`."""
    append_rows: PositiveInt = 100
    """Rows of a request that appends."""
    batch: PositiveInt = 64
    """Rows of a request in batches."""
    batches_at_once: PositiveInt = 2
    """Requests in batches that are under way at a time."""
    evidence: NonNegativeInt = 5
    """Past rows that are asked for with each prediction of one row."""
    replicas: PositiveInt = 1
    """Processes that answer."""
    port: PositiveInt = 8000
    """Port of the service."""
    folder: str = "runs/bench"
    """Folder for the table, the run and its corpus; they are made anew and removed."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )


def run(config: ServeBenchConfig) -> None:
    """Trains, enlarges the corpus, serves it, offers load; prints and logs what came of it."""
    # Here, not above: --help needs none of it.
    from raclib.serving.service.launch import resolve, service
    from raclib.serving.service.replica import open_table

    config = replace(config, tracking=open_store(config.tracking))
    folder = Path(config.folder).absolute() / "serve"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        corpus, table = prepare(config, folder)
        begin = time.perf_counter()
        open_table(f"{folder}/table")
        load_s = time.perf_counter() - begin
        told = ServeConfig(
            run=f"{folder}/table",
            port=config.port,
            replicas=config.replicas,
            limits=LimitsConfig(seconds=60.0),
            tracking=config.tracking,
        )
        begin = time.perf_counter()
        with service(resolve(told)) as address:
            start_s = time.perf_counter() - begin
            found = measure(config, address, corpus, table)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    width = corpus.field("key").shape[0]
    shown = pd.DataFrame(describe(config, found))
    figures = {"load_s": load_s, "start_s": start_s, "key_width": width, "num_rows": len(corpus)}
    print(shown.to_string(index=False, float_format="%.4g"))
    print("\n".join(f"{name}: {value:.4g}" for name, value in figures.items()))
    log(config, shown, figures, found)


def prepare(config: ServeBenchConfig, folder: Path) -> tuple[Corpus, Path]:
    """A trained run `table` in a folder, whose corpus has all rows; and the table."""
    from raclib.serving.train_table import train_table

    table = folder / "table.parquet"
    write_table(table, config.trained_rows, TABLE_COLUMNS)
    connect(1)
    made = TableConfig(
        data=str(table),
        label_time="label_time",
        storage_path=str(folder),
        num_workers=1,
        key=TableKeyConfig(kind="pca", dim=config.key_dim, entity_weight=0.0),
        # The newest stratum ends behind the last row: every answer looks at all keys.
        retrieval=TableDrawConfig(nearest=[32, 64], strata=[1_000, 1_000_000_000]),
        split=TableSplitConfig(window=1_000_000_000, num_bins=4, examples_per_bin=50),
        train=TableFitConfig(num_epochs=config.num_epochs),
        tracking=config.tracking,
    )
    with train_table(made):
        pass
    return enlarge(open_corpus(made.corpus_uri), config.num_rows), table


def measure(
    config: ServeBenchConfig, address: str, corpus: Corpus, table: Path
) -> dict[str, Offered]:
    """What came of each load, in turn."""
    assert corpus.time_range is not None
    now, inputs = corpus.time_range[1] + DAY_MS, RowReader.of(corpus).inputs
    one = Load(address, "/v1/predict", bodies(table, 1, now, inputs, evidence=config.evidence))
    many = Load(address, "/v1/predict", bodies(table, config.batch, now, inputs))
    new = Load(address, "/v1/rows", bodies(table, config.append_rows, now))

    async def beside() -> tuple[Offered, Offered]:
        appends = new.offer(config.append_rate / config.append_rows, config.append_seconds)
        return await asyncio.gather(appends, one.offer(config.rate, config.append_seconds))

    asyncio.run(one.offer(config.rate, 3.0))  # first calls take longer
    alone = asyncio.run(one.offer(config.rate, config.seconds))
    batches = asyncio.run(many.ask_steadily(config.batches_at_once, config.seconds))
    appends, crowded = asyncio.run(beside())
    return {
        "one row": alone,
        "batches": batches,
        "appends": appends,
        "one row, beside appends": crowded,
    }


def describe(config: ServeBenchConfig, found: dict[str, Offered]) -> list[dict[str, object]]:
    """A line of the table for each load."""
    sizes = {"batches": config.batch, "appends": config.append_rows}
    return [
        {
            "load": name,
            "requests": len(offered.seconds_R),
            "failed": len(offered.seconds_R) - offered.num_answered,
            "rows_per_s": sizes.get(name, 1) * offered.per_s,
            "p50_ms": offered.ms(0.5),
            "p99_ms": offered.ms(0.99),
        }
        for name, offered in found.items()
    ]


def log(
    config: ServeBenchConfig,
    table: pd.DataFrame,
    figures: dict[str, float],
    found: dict[str, Offered],
) -> None:
    """Keeps what was measured in MLflow."""
    with track(config.tracking, "bench_serve", None, flatten(config), environment_tags()) as logger:
        for row in table.to_dict("records"):
            name = row.pop("load").replace(", ", "_").replace(" ", "_")
            logger.log({f"{name}/{key}": value for key, value in row.items() if np.isfinite(value)})
        logger.log(figures)
        logger.log_table(table, "serve")
        logger.log_figure(plot(found), "serve")


def plot(found: dict[str, Offered]) -> Figure:
    """The share of requests that was answered within a time."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    panel = figure.subplots()
    for name, offered in found.items():
        panel.ecdf(np.minimum(offered.seconds_R, 60) * 1e3, label=name)
    panel.set(xscale="log", xlabel="milliseconds since due", ylabel="share answered")
    panel.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main(run, ServeBenchConfig, None)
