#!/usr/bin/env python3
"""Retrieval beside simpler lines on tables that drift, over seeds: one table and one figure.

What is done is not done again: the same name and storage_path continue, and more tables or seeds
are added to what is there.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from jsonargparse.typing import NonNegativeInt

from raclib.errors import UserError
from raclib.evaluation import drift
from raclib.run.cli import main, parse
from raclib.run.config import TrackingConfig
from raclib.run.paths import resolve
from raclib.run.store import open_store
from raclib.run.tracking import RunLogger, environment_tags, find_finished, flatten, track
from raclib.serving.compare_reviews import compare_reviews
from raclib.serving.compare_table import compare_table
from raclib.serving.train_table import train_table
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.table.config import TableConfig
from raclib.training.claim import check_claim, claim


@dataclass
class BenchDriftConfig:
    """Which tables, how often, with which changes."""

    name: str = "bench_drift"
    """Name of the whole; with it begins that of each run. The same name continues."""
    tables: dict[str, str] = field(default_factory=dict)
    """Recipes of train_table.py and their tables, such as {configs/table_a.yaml: a.parquet}."""
    reviews: dict[str, str | None] = field(default_factory=dict)
    """Recipes of train_amazon.py and their reviews; null where the recipe generates them."""
    seeds: list[NonNegativeInt] = field(default_factory=lambda: [0, 1, 2])
    """Seeds of each."""
    override: dict[str, Any] = field(default_factory=dict)
    """Options given to every run, for example {retrieval.num_draws: 16}: an ablation. Give it a
    name of its own."""
    storage_path: str = "runs"
    """Folder or URI for corpora, which seeds share, checkpoints and results."""
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(experiment="drift"))


@dataclass(frozen=True)
class Part:
    """One run of a table.

    Attributes:
        table: Name of the recipe.
        config: What it is told.
        run: Trains and compares.
    """

    table: str
    config: TableConfig | AmazonConfig
    run: Callable[[Any], None]

    def find(self) -> RunLogger | None:
        """Its run if it has ended well.

        Raises:
            UserError: if the name belongs to a run of other settings.
        """
        place = f"{self.config.storage_path}/{self.config.name}"
        run_id = check_claim(place, flatten(self.config))
        return find_finished(self.config.tracking, run_id) if run_id else None


def run(config: BenchDriftConfig) -> None:
    """Runs what is not done; prints and logs the table and the figure of all."""
    config = resolve(config)
    parts = list(plan(config))
    open_store(config.tracking)
    run_id = claim(f"{config.storage_path}/{config.name}", {})  # tables and seeds may be added
    with track(config.tracking, config.name, run_id, flatten(config), environment_tags()) as job:
        scores = drift.gather({(part.table, part.config.seed): compare(part) for part in parts})
        drift.print_summary(scores)
        job.log(drift.means(scores))
        job.log_table(scores, "drift")
        job.log_figure(drift.plot(scores), "drift")


def plan(config: BenchDriftConfig) -> Iterator[Part]:
    """The runs, a table after the other.

    Raises:
        UserError: if there are none, or two recipes have one name.
    """
    if not (config.tables or config.reviews) or not config.seeds:
        raise UserError("tables, reviews, seeds: nothing to run; name a recipe and its files")
    found = [
        (parse(TableConfig, Path(recipe), _arguments(config, data=files)), train_and_compare)
        for recipe, files in config.tables.items()
    ] + [
        (parse(AmazonConfig, Path(recipe), _arguments(config, reviews=files)), compare_reviews)
        for recipe, files in config.reviews.items()
    ]
    names = [recipe.name for recipe, _ in found]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise UserError(f"tables, reviews: {', '.join(sorted(doubles))} is the name of two recipes")
    for recipe, work in found:
        for seed in config.seeds:
            yield Part(recipe.name, _settings(config, recipe, seed), work)


def compare(part: Part) -> pd.DataFrame:
    """The scores of a run before and after the cutoff, as `over_time.compare` gives them."""
    if part.find() is None:
        print(f"{part.config.name}: trains")
        part.run(part.config)
    done = part.find()
    assert done, "a run that returns has ended well"
    return done.read_table("before_and_after")


def train_and_compare(config: TableConfig) -> None:
    """What train_table.py does."""
    with train_table(config) as trained:
        compare_table(trained)


def _settings(config: BenchDriftConfig, recipe: Any, seed: int) -> Any:
    """A run's own settings; seeds share the corpus."""
    return replace(
        recipe,
        name=f"{config.name}-{recipe.name}-{seed}",
        seed=seed,
        storage_path=config.storage_path,
        corpus=recipe.corpus or f"{config.storage_path}/corpora/{recipe.name}",
        tracking=config.tracking,
    )


def _arguments(config: BenchDriftConfig, **files: str | None) -> list[str]:
    """Options of a run: its files, where they are given, and what is given to every run."""
    given = {name: value for name, value in files.items() if value is not None} | config.override
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }
    return [f"--{name}={text}" for name, text in texts.items()]


if __name__ == "__main__":
    main(run, BenchDriftConfig, None)
