"""A run on a table, from its files to a trained model: what a job and the estimator share."""

from contextlib import AbstractContextManager

from torch import Tensor

from raclib.corpus import Corpus
from raclib.evaluation.ours import RETRIEVAL
from raclib.serving.table_model import log_table_model
from raclib.serving.trained import Trained, train_run
from raclib.tasks.table.base import BaseScores, prepare_base
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import prepare_table
from raclib.tasks.table.task import TableTask


def train_table(config: TableConfig) -> AbstractContextManager[Trained]:
    """Prepares the corpus and its base scores, trains, and logs the model with retrieval.

    Args:
        config: Configuration with absolute paths (`run.paths.resolve`).

    Returns:
        See `train_run`.
    """

    def prepare(config: TableConfig) -> tuple[Corpus, BaseScores | None]:
        return prepare_base(config, prepare_table(config))

    def log(name: str, weights: dict[str, Tensor]) -> None:
        if name == RETRIEVAL:
            log_table_model(config, weights)

    return train_run(config, prepare, TableTask, log)
