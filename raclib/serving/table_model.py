"""A model of any table as MLflow loads it: rows in, a probability of each class out.

MLflow runs this file when it loads a model (models from code), so nothing is pickled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
import torch
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from torch import Tensor

from raclib.corpus import Corpus, open_corpus
from raclib.ingest.rows import RowReader
from raclib.run.cli import parse
from raclib.serving.arrow import to_arrow
from raclib.serving.log import log_pyfunc
from raclib.serving.table_predictor import TablePredictor
from raclib.tasks.table.config import TableConfig


class TableModel(PythonModel):
    """Predicts rows of a table from the newest version of its corpus."""

    def load_context(self, context: Any) -> None:
        """Reads configuration, weights and keys."""
        config = parse(TableConfig, Path(context.artifacts["config"]), [])
        weights = torch.load(context.artifacts["weights"], weights_only=True)
        self.predictor = TablePredictor(config, weights)

    def predict(  # type: ignore[override]  # MLflow leaves the context out where it is not named
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Probabilities of the classes: a float32 column a class, named like it.

        Args:
            model_input: The columns that the model was trained on and the time, as in the table;
                rows of the corpus whose label was known before that time are its memory. A missing
                value or a new category is allowed.
            params: Not used.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        probabilities_NC = self.predictor(to_arrow(model_input))
        return pd.DataFrame(probabilities_NC, model_input.index, list(self.predictor.classes))


def log_table_model(config: TableConfig, weights: Mapping[str, Tensor]) -> None:
    """Logs a model with retrieval to the open MLflow run; `mlflow.pyfunc.load_model` loads it.

    Args:
        config: Configuration with absolute paths: the model finds the corpus through it.
        weights: State of the model.
    """
    log_pyfunc(__file__, config, weights, make_signature(open_corpus(config.corpus_uri)))


def make_signature(corpus: Corpus) -> ModelSignature:
    """Columns of the table of a corpus, and a probability of each class."""
    reader = RowReader.of(corpus)
    columns: Any = [ColSpec(_type_of(reader.schema.field(name)), name) for name in reader.inputs]
    classes: Any = [ColSpec("float", name) for name in reader.classes.names]
    return ModelSignature(Schema(columns), Schema(classes))


def _type_of(column: pa.Field) -> str | AnyType:
    """MLflow's type of a column, where it would refuse nothing that can be read.

    It has no numbers that may be missing, and takes no integer for a number with fractions.
    """
    if pa.types.is_string(column.type):
        return "string"
    return "boolean" if pa.types.is_boolean(column.type) else AnyType()


if __name__ != "raclib.serving.table_model":
    mlflow.models.set_model(TableModel())
