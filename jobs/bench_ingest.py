#!/usr/bin/env python3
"""Measures how fast a table becomes a corpus, and in what memory; logged to MLflow."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib
import pandas as pd
from jsonargparse.typing import PositiveInt
from matplotlib.figure import Figure

from raclib.bench.ingest import bare_work, measure, write_table
from raclib.errors import UserError
from raclib.run.cli import main
from raclib.run.cluster import connect
from raclib.run.config import TrackingConfig
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, flatten, track
from raclib.tasks.table.config import TableConfig

matplotlib.use("Agg")
MIN_COLUMNS = 25  # with fewer there would be no id


@dataclass
class IngestBenchConfig:
    """The table that is generated, and where it goes."""

    num_rows: PositiveInt = 500_000
    """Rows of the table."""
    num_columns: PositiveInt = 100
    """Columns that are inputs: of 100 80 are numbers, 15 categories, 4 ids and one a date. The
    time, that of the label and the label come on top."""
    rows_per_shard: PositiveInt = 100_000
    """Rows of a corpus shard."""
    folder: str = "runs/bench"
    """Folder for the table, which a later run uses again, and for the corpus, which is made anew
    each time and removed."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )

    def __post_init__(self) -> None:
        if self.num_columns < MIN_COLUMNS:
            raise UserError(f"num_columns: {self.num_columns}; give at least {MIN_COLUMNS}")


def run(config: IngestBenchConfig) -> None:
    """Generates the table, prepares it as `train_table.py` does, then does the bare work."""
    config = replace(config, tracking=open_store(config.tracking))
    folder = Path(config.folder).absolute()
    source = folder / f"table-{config.num_rows}x{config.num_columns}.parquet"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_table(source, config.num_rows, config.num_columns)
    connect(1)
    made = TableConfig(
        data=str(source),
        time="time",
        label_time="label_time",
        label="label",
        corpus=str(folder / "ingest" / "corpus"),
        storage_path=str(folder / "ingest"),
        rows_per_shard=config.rows_per_shard,
    )
    shutil.rmtree(made.storage_path, ignore_errors=True)
    try:
        rows, num_bytes = measure(made)
        bare_s, bare_cpu_s = bare_work(source, folder / "ingest" / "sorted.parquet")
    finally:
        shutil.rmtree(made.storage_path, ignore_errors=True)
    bare = {"phase": "bare work", "seconds": bare_s, "cpu_seconds": bare_cpu_s}
    rows.append({**bare, "rows_per_s": config.num_rows / bare_s})
    table = pd.DataFrame(rows)
    whole = rows[-2]
    figures = {
        "bytes_per_row": num_bytes / config.num_rows,
        "table_bytes_per_row": source.stat().st_size / config.num_rows,
        "ratio": whole["seconds"] / bare_s,
        "cpu_ratio": whole["cpu_seconds"] / bare_cpu_s,
    }
    print(table.to_string(index=False, float_format="%.4g", na_rep=""))
    print("\n".join(f"{name}: {value:.4g}" for name, value in figures.items()))
    log(config, table, figures)


def log(config: IngestBenchConfig, table: pd.DataFrame, figures: dict[str, float]) -> None:
    """Keeps what was measured in MLflow."""
    params, tags = flatten(config), environment_tags()
    with track(config.tracking, "bench_ingest", None, params, tags) as logger:
        for name, row in table.set_index("phase").iterrows():
            found = {
                f"{name}/{key}".replace(" ", "_"): value for key, value in row.dropna().items()
            }
            logger.log(found)
        logger.log(figures)
        logger.log_table(table, "ingest")
        logger.log_figure(plot(table), "ingest")


def plot(table: pd.DataFrame) -> Figure:
    """Seconds of each phase and of the bare work."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    panel = figure.subplots()
    shown = table[table.phase != "all"]
    panel.barh(shown.phase, shown.seconds, label="wall")
    panel.barh(shown.phase, shown.cpu_seconds, height=0.3, label="processor")
    panel.invert_yaxis()
    panel.set(xlabel="seconds")
    panel.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main(run, IngestBenchConfig, None)
