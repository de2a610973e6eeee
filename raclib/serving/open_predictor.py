"""From the name of a run to a model that answers."""

from raclib.run.cli import configure
from raclib.serving.find_model import find_model
from raclib.serving.predictor import Predictor
from raclib.serving.review_predictor import ReviewPredictor
from raclib.serving.table_predictor import TablePredictor
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.table.config import TableConfig


def open_predictor(run: str, version: int | None = None) -> Predictor:
    """The trained model of a run over its corpus.

    Args:
        run: Folder or fsspec URI of a run on a table or on reviews, `<storage_path>/<name>`, or the
            URI of its model in MLflow, `runs:/<id>/model` or `models:/<name>/<version>`.
        version: Of the corpus; by default the newest.

    Raises:
        UserError: if there is no such run, model or corpus, or its keys have another width.
    """
    model = find_model(run)
    if model.is_of_reviews:
        return ReviewPredictor(configure(AmazonConfig, model.settings), model.weights, version)
    return TablePredictor(configure(TableConfig, model.settings), model.weights, version)
