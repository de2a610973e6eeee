"""A run on reviews, from files to a comparison: a classifier with retrieval and one without."""

from torch import Tensor

from raclib.corpus import Corpus
from raclib.evaluation.comparison import REVIEWS
from raclib.serving.compare import compare
from raclib.serving.model import log_model
from raclib.serving.trained import train_run
from raclib.tasks.amazon.base import ReviewFeatures, prepare_review_base
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews
from raclib.tasks.amazon.task import AmazonTask
from raclib.tasks.table.base import BaseScores


def compare_reviews(config: AmazonConfig) -> None:
    """Prepares the corpus, trains both classifiers, compares them with simpler lines.

    What an interrupted run has done is not done again.

    Args:
        config: Configuration with absolute paths (`run.paths.resolve`).
    """

    def prepare(config: AmazonConfig) -> tuple[Corpus, BaseScores | None]:
        return prepare_review_base(config, prepare_reviews(config))

    def log(name: str, weights: dict[str, Tensor]) -> None:
        log_model(config, weights)

    with train_run(config, prepare, AmazonTask, log) as trained:
        compare(trained, ReviewFeatures(trained.task.corpus), REVIEWS)
