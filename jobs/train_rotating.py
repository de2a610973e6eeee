#!/usr/bin/env python3
"""Rotating decision boundary: accuracy at times never trained on, with retrieval and without."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd

from raclib.evaluation import rotating
from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.tasks.rotating.config import RotatingConfig
from raclib.tasks.rotating.task import RotatingTask
from raclib.training.fit import fit
from raclib.training.opening import open_job

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "rotating.yaml"
CONTEXT = {"no context": False, "retrieval": True}


def run(config: RotatingConfig) -> None:
    """Trains both classifiers with every seed; prints and plots what they are worth over time."""
    config = resolve(config)
    opened, follow = open_job(config)
    seeds = range(config.seed, config.seed + config.num_seeds)

    with opened as job:
        scores = [rotating.lines(config)]
        for seed in seeds:
            recent = rotating.recent_rule(RotatingTask(replace(config, seed=seed)))
            scores.append(rotating.over_time(rotating.RECENT, seed, recent, config.num_bins))
        for seed, (method, with_context) in product(seeds, CONTEXT.items()):
            mine = replace(config, seed=seed)
            name = f"{method}, seed {seed}"
            with follow(name, mine) as logger:
                fitted = fit(RotatingTask(mine, with_context), mine, with_context, logger)
                found = rotating.over_time(method, seed, fitted.test, config.num_bins)
                accuracies = enumerate(found["accuracy"])
                logger.log_steps({n: {"over_time/accuracy": value} for n, value in accuracies})
            scores.append(found)
        table = pd.concat(scores, ignore_index=True)
        summary = rotating.summarize(table, config.train_until)
        for method, part in summary.groupby("method"):
            means = part[["before", "after", "last"]].mean()
            job.log({f"{method}/{period}": value for period, value in means.items()})
        job.log_table(table, "over_time")
        job.log_table(summary, "summary")
        job.log_figure(rotating.plot(table, config.train_until), "over_time")
    rotating.print_summary(summary)


if __name__ == "__main__":
    main(run, RotatingConfig, DEFAULT)
