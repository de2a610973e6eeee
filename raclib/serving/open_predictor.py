"""From the name of a run to a model that answers."""

from raclib.corpus import Corpus
from raclib.run.cli import configure
from raclib.serving.find_model import Model, find_model
from raclib.serving.predictor import Predictor
from raclib.serving.review_predictor import ReviewPredictor, ReviewRows
from raclib.serving.rows import ServedRows
from raclib.serving.table_predictor import TablePredictor, TableRows
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
    return make_predictor(find_model(run), version)


def make_predictor(model: Model, version: int | None = None) -> Predictor:
    """A trained model over its corpus; see `open_predictor`."""
    config = config_of(model)
    if isinstance(config, AmazonConfig):
        return ReviewPredictor(config, model.weights, version)
    return TablePredictor(config, model.weights, version)


def open_rows(model: Model, corpus: Corpus) -> ServedRows:
    """What reads the rows of a model, without its keys."""
    config = config_of(model)
    if isinstance(config, AmazonConfig):
        return ReviewRows.of(corpus, config)
    return TableRows.of(corpus, config)


def config_of(model: Model) -> AmazonConfig | TableConfig:
    """What a model was trained with; raises UserError if it is of an option that is not there."""
    if model.is_of_reviews:
        return configure(AmazonConfig, model.settings)
    return configure(TableConfig, model.settings)
