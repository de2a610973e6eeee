#!/usr/bin/env python3
"""Rehearses a long table end to end: generated, ingested, trained on, served; logged to MLflow."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import ray
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from raclib.bench.ingest import PHASES, MeteredRecipe
from raclib.bench.scale import PIECE_ROWS, count_wrong, make_piece, write_table
from raclib.bench.scale_table import Size, phase_table, plot, show
from raclib.bench.usage import KeptMeter, read_phases
from raclib.corpus import Corpus, CorpusClient, open_corpus
from raclib.corpus.files import list_files
from raclib.corpus.mounts import choose_mount
from raclib.evaluation.ours import RETRIEVAL
from raclib.ingest.columns import ColumnsConfig
from raclib.ingest.prepare import prepare
from raclib.models.base import BaseConfig
from raclib.retrieval.shared_keys import load_shared
from raclib.run.cli import main
from raclib.run.config import TrackingConfig
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, flatten, track
from raclib.serving.compare_table import compare_table
from raclib.serving.table_model import log_table_model
from raclib.serving.table_predictor import TablePredictor
from raclib.serving.trained import train_run
from raclib.tasks.table.base import BaseScores, prepare_base
from raclib.tasks.table.config import (
    TableConfig,
    TableDrawConfig,
    TableEvaluateConfig,
    TableFitConfig,
    TableKeyConfig,
    TableSplitConfig,
)
from raclib.tasks.table.task import TableTask

matplotlib.use("Agg")
BATCH_SIZE = 128
SERVED_ROWS = 1_000
GENERATING, STARTING, BASE, OPENING = "generating", "starting Ray", "base classifier", "opening"
LOADING, SPLITTING, TRAINING = "loading keys", "splitting", "training"
LOGGING, EVALUATION = "logging the model", "evaluation"
SERVING, CHECKING = "served predictions", "checking rows"


@dataclass
class ScaleConfig:
    """How long the table is, and where everything goes."""

    rows: PositiveInt = 1_000_000
    """Rows of the table: 16 numbers, a category of 1,000, an id of a million values, the time of
    the label; the rule of its label turns one and a half times."""
    rows_per_shard: PositiveInt = 200_000
    """Rows of a corpus shard."""
    steps: PositiveInt = 300
    """Training steps, of 128 examples."""
    num_checked: PositiveInt = 10_000
    """Rows of the corpus that are compared with the table, drawn at random."""
    folder: str = "runs/bench"
    """Folder in which each size has one of its own. The same command continues what is there; who
    wants to measure anew removes it."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )


def run(config: ScaleConfig) -> None:
    """Does all phases, or those that an earlier run left, and prints what each took."""
    config = replace(config, tracking=open_store(config.tracking))
    folder = Path(config.folder).absolute() / f"scale-{config.rows}"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "table.parquet"
    figures: dict[str, float] = {}
    with KeptMeter(GENERATING, folder / "phases.json") as meter:
        if not source.exists():
            write_table(source, config.rows)
        meter.begin(STARTING)
        made = table_config(config, folder, source)
        rehearse(config, made, meter, figures)
    corpus = open_corpus(made.corpus_uri)
    on_disk = sum(list_files(f"{corpus.uri}/shards").values())
    figures["table_bytes_per_row"] = source.stat().st_size / config.rows
    figures["corpus_bytes_per_row"] = on_disk / config.rows
    sizes = [
        Size(int(file.parent.name.removeprefix("scale-")), read_phases(file))
        for file in folder.parent.glob("scale-*/phases.json")
    ]
    smaller = [size for size in sizes if size.num_rows < config.rows]
    worked = {TRAINING: config.steps * BATCH_SIZE, SERVING: SERVED_ROWS}
    worked |= {CHECKING: config.num_checked, EVALUATION: int(figures.pop("tested"))}
    here = Size(config.rows, read_phases(folder / "phases.json"))
    table = phase_table(here, worked, max(smaller, key=lambda size: size.num_rows, default=None))
    show(table, figures)
    log(config, table, figures)


def rehearse(
    config: ScaleConfig, made: TableConfig, meter: KeptMeter, figures: dict[str, float]
) -> None:
    """From the table's file to checked rows; adds what is no phase to the figures."""

    def make_corpus(made: TableConfig) -> tuple[Corpus, BaseScores | None]:
        meter.begin(PHASES[0])
        corpus = prepare(MeteredRecipe(made, meter))
        meter.begin(BASE)
        corpus, base = prepare_base(made, corpus)
        meter.begin(OPENING)
        start = time.perf_counter()
        corpus = open_corpus(made.corpus_uri)
        figures["open_s"] = time.perf_counter() - start
        meter.begin(LOADING)
        figures["load_keys_s"] = ray.get(load_keys.remote(corpus, made.retrieval.key_dtype))
        meter.begin(SPLITTING)
        return corpus, base

    def make_task(
        made: TableConfig, corpus: Corpus, client: CorpusClient, base: BaseScores | None
    ) -> TableTask:
        task = TableTask(made, corpus, client, base)
        meter.begin(TRAINING)
        return task

    def log_model(name: str, weights: dict[str, Tensor]) -> None:
        meter.begin(LOGGING)
        log_table_model(made, weights)

    with train_run(made, make_corpus, make_task, log_model) as trained:
        meter.begin(EVALUATION)
        compare_table(trained)
        figures["tested"] = len(trained.task.splits.test)
        weights = trained.fitted[RETRIEVAL].weights
    meter.begin(SERVING)
    last = make_piece(config.rows, (config.rows - 1) // PIECE_ROWS)
    last = last.slice(max(0, len(last) - SERVED_ROWS))
    opened_s, served_s, probabilities_NC = ray.get(serve.remote(made, weights, last))
    assert np.allclose(probabilities_NC.sum(axis=1), 1, atol=1e-3), "they are probabilities"
    figures |= {"predictor_open_s": opened_s, "predict_ms_per_row": 1e3 * served_s / len(last)}
    meter.begin(CHECKING)
    corpus = open_corpus(made.corpus_uri)
    figures["missing_rows"] = config.rows - len(corpus)
    figures["wrong_rows"] = count_wrong(corpus, config.rows, config.num_checked)


def table_config(config: ScaleConfig, folder: Path, source: Path) -> TableConfig:
    """The run: keys of 64 bytes, rows drawn and looked up, tests on a sample."""
    num_train = min(config.steps * BATCH_SIZE, config.rows // 10)
    size = min(BATCH_SIZE, num_train)
    return TableConfig(
        name="run",
        data=str(source),
        time="time",
        label="label",
        label_time="label_time",
        storage_path=str(folder),
        rows_per_shard=config.rows_per_shard,
        columns=ColumnsConfig(categorical=["kind"], entity=["customer_id"]),
        base=BaseConfig(kind="linear"),
        key=TableKeyConfig(dim=8, nca_dim=6),
        split=TableSplitConfig(train_examples=num_train),
        retrieval=TableDrawConfig(num_draws=2, key_dtype="float16"),
        train=TableFitConfig(
            num_epochs=-(-config.steps // (num_train // size)),
            batch_size=size,
            checkpoint_every=100,
        ),
        evaluate=TableEvaluateConfig(num_refits=3),
        tracking=config.tracking,
    )


@ray.remote(num_cpus=1)
def load_keys(corpus: Corpus, dtype: str) -> float:
    """Loads all keys as a worker does; seconds."""
    start = time.perf_counter()
    load_shared(corpus, None, getattr(torch, dtype), choose_mount(corpus, "auto"))
    return time.perf_counter() - start


@ray.remote(num_cpus=1)
def serve(
    config: TableConfig, weights: dict[str, Tensor], rows: pa.Table
) -> tuple[float, float, np.ndarray]:
    """Opens a predictor in a process of its own: seconds of that and of an answer, and this."""
    start = time.perf_counter()
    predictor = TablePredictor(config, weights)
    opened = time.perf_counter()
    probabilities_NC = predictor(rows)
    return opened - start, time.perf_counter() - opened, probabilities_NC


def log(config: ScaleConfig, table: pd.DataFrame, figures: dict[str, float]) -> None:
    """Keeps what was measured in MLflow."""
    params, tags = flatten(config), environment_tags()
    with track(config.tracking, "bench_scale", None, params, tags) as logger:
        for name, row in table.set_index("phase").iterrows():
            found = row.dropna().items()
            logger.log({f"{name}/{key}".replace(" ", "_"): value for key, value in found})
        logger.log(figures)
        logger.log_table(table, "scale")
        logger.log_figure(plot(table), "scale")


if __name__ == "__main__":
    main(run, ScaleConfig, None)
