#!/usr/bin/env python3
"""From a table of your own to a comparison over time: retrieval beside a classifier without it."""

from typing import TYPE_CHECKING

from raclib.errors import UserError
from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.tasks.table.config import TableConfig

if TYPE_CHECKING:
    from raclib.serving.trained import Trained


def run(config: TableConfig) -> None:
    """Prepares the corpus and its base scores, trains retrieval, compares it with simpler lines."""
    config = resolve(config, corpus=config.corpus_uri)
    if config.predict_unlabelled and not config.data:
        raise UserError(
            "predict_unlabelled: rows are read from the table; name its files with --data"
        )
    # Here, not above: the command line is read, and explained, without PyTorch and MLflow.
    from raclib.run.start import start

    start(config)
    from raclib.serving.compare_table import compare_table
    from raclib.serving.train_table import train_table

    with train_table(config) as trained:
        compare_table(trained)
    if config.predict_unlabelled:
        predict_rest(config, trained)


def predict_rest(config: TableConfig, trained: "Trained") -> None:
    """Predicts the rows without a label, and says where the answers are."""
    from raclib.evaluation.ours import RETRIEVAL
    from raclib.serving.table_predictor import TablePredictor
    from raclib.serving.unlabelled import predict_unlabelled
    from raclib.tasks.table.recipe import TableRecipe

    predictor = TablePredictor(config, trained.fitted[RETRIEVAL].weights)
    uri = f"{config.storage_path}/{config.name}/unlabelled.parquet"
    num_rows, num_unread = predict_unlabelled(predictor, TableRecipe(config).files, uri)
    rest = f"; {num_unread:,} have no time that can be read" if num_unread else ""
    print(f"rows without a label: {num_rows:,} predicted, in {uri}{rest}")


if __name__ == "__main__":
    main(run, TableConfig, None)
