#!/usr/bin/env python3
"""From a table of your own to a comparison over time: retrieval beside a classifier without it."""

from raclib.errors import UserError
from raclib.evaluation.comparison import Wording, evaluate, report
from raclib.evaluation.lines import FITTED, NO_CONTEXT, Refittable, linear_base, make_lines
from raclib.ingest.base_scores import FeatureReader
from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.serving.table_predictor import TablePredictor
from raclib.serving.train_table import RETRIEVAL, Trained, train_table
from raclib.serving.unlabelled import predict_unlabelled
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import TableRecipe


def run(config: TableConfig) -> None:
    """Prepares the corpus and its base scores, trains retrieval, compares it with simpler lines."""
    config = resolve(config, corpus=config.corpus_uri)
    if config.predict_unlabelled and not config.data:
        raise UserError(
            "predict_unlabelled: rows are read from the table; name its files with --data"
        )
    with train_table(config) as trained:
        compare(trained, describe(config))
    if config.predict_unlabelled:
        predict_rest(config, trained)


def compare(trained: Trained, wording: Wording) -> None:
    """Prints and logs what the trained models are worth beside lines that learn less."""
    task, loggers = trained.task, dict(trained.loggers)
    ours = {name: fitted.test.probability for name, fitted in trained.fitted.items()}
    rows, base = task.splits.test, trained.base
    no_context = base.probabilities(rows) if base else ours.pop(NO_CONTEXT)
    lines = make_lines(task, refittable(trained), no_context)
    for name in lines.probabilities.keys() - loggers.keys():
        with trained.follow(name) as loggers[name]:
            pass
    comparison = evaluate(task, {**lines.probabilities, **ours}, wording)
    report(comparison, lines.chosen, trained.job, loggers, wording)


def refittable(trained: Trained) -> Refittable:
    """The base classifier, or logistic regression where that is not one to fit again."""
    config, base = trained.task.config.base, trained.base
    if base and config.kind in FITTED:
        return Refittable(config, base.read, base.classifiers)
    return linear_base(trained.task, FeatureReader(trained.task.corpus, trained.task.num_codes))


def predict_rest(config: TableConfig, trained: Trained) -> None:
    """Predicts the rows without a label, and says where the answers are."""
    predictor = TablePredictor(config, trained.fitted[RETRIEVAL].weights)
    uri = f"{config.storage_path}/{config.name}/unlabelled.parquet"
    num_rows, num_unread = predict_unlabelled(predictor, TableRecipe(config).files, uri)
    rest = f"; {num_unread:,} have no time that can be read" if num_unread else ""
    print(f"rows without a label: {num_rows:,} predicted, in {uri}{rest}")


def describe(config: TableConfig) -> Wording:
    """What the periods and the time of the figure are called."""
    has_dates = config.time_unit != "row"
    what = "time" if has_dates else "row"
    return Wording("before the cutoff", "after the cutoff", f"{what} (dashed: cutoff)", has_dates)


if __name__ == "__main__":
    main(run, TableConfig, None)
