#!/usr/bin/env python3
"""Measures fetches and training steps over nodes, servers and workers; logged to MLflow.

Started by itself it makes clusters of several raylets on this machine; submitted to a cluster it
measures that one as it is.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import ray
from jsonargparse.typing import PositiveFloat, PositiveInt

from raclib.bench import fetch, scaling
from raclib.bench.capacity import FetchRates, Workload, plan_table
from raclib.bench.scaling import Setting
from raclib.corpus import CorpusStore
from raclib.errors import UserError
from raclib.run.cli import main, parse
from raclib.run.cluster import connect
from raclib.run.config import TrackingConfig, refuse_empty
from raclib.run.paths import resolve
from raclib.run.shared import check_shared, check_tracking
from raclib.run.store import open_store
from raclib.run.tracking import RunLogger, environment_tags, flatten, track
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.fit import fit

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "amazon_quickstart_paper.yaml"
NUM_SHARDS = 12
MIN_POINTS = 4  # of which two are warm-up
LOG_EVERY = 5  # steps; a point costs the time of a call to MLflow


@dataclass
class ScalingConfig:
    """What is measured, and how long."""

    nodes: list[PositiveInt] = field(default_factory=lambda: [1, 2, 3])
    """Raylets of the clusters started here; a cluster that the job was submitted to stays as it
    is."""
    servers: list[PositiveInt] = field(default_factory=lambda: [1, 3])
    """Actors that serve a corpus."""
    workers: list[PositiveInt] = field(default_factory=lambda: [1, 2])
    """Processes that fetch, and Ray Train workers."""
    replicas: PositiveInt = 1
    """Servers that hold each shard, where there are as many."""
    mount: str = "auto"
    """How servers get at shards; see `CorpusStore.start`."""
    job: str = str(QUICKSTART)
    """Configuration of the training that is measured."""
    epochs: PositiveInt = 3
    """Epochs of it."""
    corpus_bytes: PositiveInt = 2**28
    """Bytes of the rows that are fetched without training; each is as wide as the plan's."""
    batch_rows: PositiveInt = 1024
    """Rows of a fetch."""
    seconds: PositiveFloat = 3.0
    """Time of each measurement of fetches."""
    plan: Workload = field(default_factory=Workload)
    plan_nodes: list[PositiveInt] = field(default_factory=lambda: [8, 64])
    """Numbers of nodes for which to compute what the plan's workload asks of them."""
    storage_path: str = "runs/bench_scaling"
    """Folder or URI, seen by every machine, for corpora and checkpoints."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )

    def __post_init__(self) -> None:
        refuse_empty(nodes=self.nodes, servers=self.servers, workers=self.workers)
        refuse_empty(plan_nodes=self.plan_nodes)


def run(config: ScalingConfig) -> None:
    """Measures every setting; prints and logs the table."""
    config = resolve(config)
    config.plan.check_nodes(min(config.plan_nodes))
    check_steps(config)
    tracking = open_store(config.tracking)
    folder = f"bench_scaling/{pd.Timestamp.now():%Y%m%dT%H%M%S}"
    follow = partial(track, tracking, key=None, tags=environment_tags())
    found: dict[Setting, dict[str, float]] = {}
    with follow("bench_scaling", params=flatten(config)) as log:
        for nodes in clusters(config):
            check_tracking(config.tracking)
            check_shared(storage_path=config.storage_path)
            for servers, workers in product(config.servers, config.workers):
                setting = Setting(nodes, servers, workers)
                with follow(str(setting), params=asdict(setting)) as mine:
                    found[setting] = measure(config, setting, f"{folder}/{setting}", mine)
                    mine.log(found[setting])
                print(setting, {name: f"{value:.3g}" for name, value in found[setting].items()})
        table = scaling.with_ratios(found)
        print(table.to_string(index=False, float_format="%.3g"))
        plan = plan_table(config.plan, config.plan_nodes, slowest(found))
        print(plan.to_string(float_format="{:,.3g}".format))
        log.log_table(table, "scaling")
        log.log_table(plan.reset_index(names="quantity"), "plan")
        log.log_figure(scaling.plot(table), "scaling")


def check_steps(config: ScalingConfig) -> None:
    """Refuses a training of too few steps to be timed."""
    job = parse(AmazonConfig, Path(config.job), [])
    steps = config.epochs * (job.split.train_examples // job.train.batch_size)
    if steps < LOG_EVERY * MIN_POINTS:
        raise UserError(
            f"epochs: {config.epochs} of {config.job} make {steps} steps; a time needs "
            f"{LOG_EVERY * MIN_POINTS}: give more"
        )


def clusters(config: ScalingConfig) -> Iterator[int]:
    """Joins one cluster after the other; gives the number of nodes of each."""
    if "RAY_ADDRESS" in os.environ:
        connect(max(config.workers))
        yield sum(node["Alive"] for node in ray.nodes())
        return
    for nodes in config.nodes:
        with scaling.local_cluster(nodes, cpus=max(config.workers) + 1):
            yield nodes


def measure(
    config: ScalingConfig, setting: Setting, name: str, logger: RunLogger
) -> dict[str, float]:
    """Rows a second and step time of one setting."""
    replicas = min(config.replicas, setting.servers)
    width, size = config.plan.row_bytes, config.corpus_bytes
    uri = f"{config.storage_path}/rows{width}-{size}"
    rows = fetch.make_corpus(uri, width, size, -(-size // width // NUM_SHARDS))
    with CorpusStore.start(rows, setting.servers, replicas, config.mount) as store:
        found = scaling.fetch_rates(store, setting, config.batch_rows, config.seconds)
    job = training(config, setting, name)
    corpus = prepare_reviews(job)
    with CorpusStore.start(corpus, setting.servers, replicas, config.mount) as store:
        fit(AmazonTask(job, corpus, store.client()), job, True, logger)
    return found | scaling.step_time(logger)


def slowest(found: dict[Setting, dict[str, float]]) -> FetchRates:
    """Rows a second of one process: calls are slowest where every answer crosses nodes."""
    fewest = min(setting.workers for setting in found)
    alone = [values for setting, values in found.items() if setting.workers == fewest]
    called, local = (
        min(values[name] for values in alone) / fewest
        for name in ("called_rows_per_s", "rows_per_s")
    )
    return FetchRates(called, local)


def training(config: ScalingConfig, setting: Setting, name: str) -> AmazonConfig:
    """The training that is measured: few epochs, next to nothing predicted."""
    job = parse(AmazonConfig, Path(config.job), [])
    return replace(
        job,
        name=name,
        storage_path=config.storage_path,
        corpus=f"{config.storage_path}/corpora/{job.name}",
        num_workers=setting.workers,
        split=replace(job.split, examples_per_bin=1),
        train=replace(job.train, num_epochs=config.epochs, log_every=LOG_EVERY),
    )


if __name__ == "__main__":
    main(run, ScalingConfig, None)
