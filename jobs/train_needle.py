#!/usr/bin/env python3
"""Needle in a haystack: how long training explores until it draws the one row that matters."""

from dataclasses import replace
from itertools import product
from pathlib import Path

from raclib.evaluation import needle
from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.run.tracking import RunLogger
from raclib.tasks.needle.config import NeedleConfig
from raclib.tasks.needle.task import NeedleTask
from raclib.training.fit import fit
from raclib.training.opening import open_job

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "needle.yaml"


def run(config: NeedleConfig) -> None:
    """Trains on every history size with every seed; prints, fits and plots what came of it."""
    config = resolve(config)
    opened, follow = open_job(config)
    seeds = range(config.seed, config.seed + config.num_seeds)

    with opened as job:
        loggers: dict[tuple[int, int], RunLogger] = {}
        for seed, size in product(seeds, config.history_sizes):
            mine = replace(config, seed=seed, history_size=size)
            name = f"{size} rows, seed {seed}"
            with follow(name, mine) as logger:
                fit(NeedleTask(mine), mine, True, logger)
                loggers[size, seed] = logger
        curves = needle.read_curves(loggers)
        runs = needle.summarize(curves)
        line = needle.fit_exploration(runs)
        for each in runs.itertuples():
            end = {"end/loss": each.loss, "end/hit_share": each.hit_share}
            loggers[each.history_size, each.seed].log(end)
        job.log(line._asdict() if line else {})
        job.log_table(curves, "curves")
        job.log_table(runs, "runs")
        job.log_figure(needle.plot_curves(curves), "curves")
        job.log_figure(needle.plot_exploration(runs, line), "exploration")
    needle.print_runs(runs)
    if line:
        print(
            f"exploration: {line.intercept:.0f} + {line.slope:.2f} ± {line.slope_error:.2f} steps "
            f"a row, R² {line.r_squared:.2f}"
        )


if __name__ == "__main__":
    main(run, NeedleConfig, DEFAULT)
