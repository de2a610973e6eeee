#!/usr/bin/env python3
"""From a table of your own to a comparison over time: retrieval beside a classifier without it."""

from functools import partial

from raclib.corpus import CorpusStore
from raclib.evaluation.comparison import Wording, baselines, evaluate, report
from raclib.run.cli import main
from raclib.run.cluster import connect
from raclib.run.paths import resolve
from raclib.run.shared import check_shared, check_tracking
from raclib.run.tracking import environment_tags, flatten, track
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import prepare_table
from raclib.tasks.table.task import TableTask
from raclib.training.claim import check_claim, claim
from raclib.training.fit import fit

RETRIEVAL, BASE = "retrieval", "no context"


def run(config: TableConfig) -> None:
    """Prepares the corpus and its base scores, trains retrieval, compares it with simpler lines."""
    config = resolve(config, corpus=config.corpus_uri)
    run_uri, params = f"{config.storage_path}/{config.name}", flatten(config)
    check_claim(run_uri, params)
    connect(config.num_workers, log_to_driver=True)
    check_tracking(config.tracking)
    check_shared(storage_path=config.storage_path, corpus=config.corpus_uri)
    corpus, base = prepare_base(config, prepare_table(config))
    tags = {"corpus_version": str(corpus.version), **environment_tags()}
    follow = partial(track, config.tracking, params=params, tags=tags)

    with follow(config.name, key=run_uri) as job:
        job.log_dataset(corpus.uri, str(corpus.version), len(corpus))
        loggers, probabilities = {}, {}
        with CorpusStore.start(corpus, config.num_servers, config.replicas, config.mount) as store:
            task = TableTask(config, corpus, store.client())
            claim(run_uri, params)
            for name in (RETRIEVAL,) if base else (BASE, RETRIEVAL):
                with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                    fitted = fit(task, config, name == RETRIEVAL, loggers[name])
                    probabilities[name] = fitted.test.probability
        lines = baselines(task)
        if base:
            lines[BASE] = base.probabilities(task.splits.test)
        for name, probability in lines.items():
            with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                probabilities[name] = probability
        wording = describe(config)
        report(evaluate(task, probabilities, wording), job, loggers, wording)


def describe(config: TableConfig) -> Wording:
    """What the periods and the time of the figure are called."""
    has_dates = config.time_unit != "row"
    what = "time" if has_dates else "row"
    return Wording("before the cutoff", "after the cutoff", f"{what} (dashed: cutoff)", has_dates)


if __name__ == "__main__":
    main(run, TableConfig, None)
