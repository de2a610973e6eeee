"""A classifier with a history, in scikit-learn's manners."""

import secrets
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from raclib.corpus import open_corpus
from raclib.corpus.files import local_path, normalise, remove_folder
from raclib.errors import UserError
from raclib.evaluation.ours import RETRIEVAL
from raclib.ingest.append import append_rows
from raclib.run.cli import configure
from raclib.run.config import TrackingConfig
from raclib.run.paths import resolve as resolve_paths
from raclib.run.paths import sqlite_uri
from raclib.run.store import open_store
from raclib.serving.arrow import Table, batches, to_arrow, write_table
from raclib.serving.table_predictor import TablePredictor
from raclib.serving.train_table import train_table
from raclib.tasks.table.config import TableConfig


class HistoryClassifier(ClassifierMixin, BaseEstimator):
    """Learns to predict rows by looking up earlier rows whose label was known in time.

    A table is a pandas DataFrame, an Arrow Table or a Ray Dataset, with its time and label among
    the columns. It does what `jobs/train_table.py` does, without the comparison, on the Ray cluster
    that is there or on this machine.

    Args:
        time: Column with the time at which a row happened; it decides what is looked up for it.
        label: Column to predict: booleans, integers or strings.
        label_time: Column with the time at which the label was known; None if at once.
        time_unit: What times that are plain numbers count; `row` if they order the rows.
        cutoff: What is fitted sees only labels known before this: a date (UTC), or the share of the
            rows that is from then on.
        ignore: Columns to leave out, such as what is known only after the label.
        base: The classifier of the row alone whose scores are kept beside it.
        window: Rows are drawn from the last this many whose label was known before a row happened.
        num_draws: Rows that learned queries draw for a row, beside those that are looked up.
        num_epochs: Passes over the training examples; None for as many as make 1,000 steps.
        seed: Seed of data, weights, order and draws.
        num_workers: Ray Train workers.
        storage_path: Folder or URI for corpora, results and, in a folder, runs (`mlflow.db`); each
            fit has names of its own there. By default a temporary folder that is removed with this
            object.
        config: Any other option of the job by its dotted name, such as
            `{"columns.text": ["title"], "train.batch_size": 256}`; goes before the others.

    Attributes:
        classes_: The classes, of the type of the label, in the order of probabilities.
        feature_names_in_: Columns that a row to be predicted has, the time among them.
        config_: Everything that the fit was told.
        weights_: State of the model.
    """

    def __init__(
        self,
        time: str = "time",
        label: str = "label",
        label_time: str | None = None,
        time_unit: str | None = None,
        cutoff: str = "0.4",
        ignore: Sequence[str] = (),
        base: str = "auto",
        window: int = 4_000,
        num_draws: int = 0,
        num_epochs: int | None = None,
        seed: int = 0,
        num_workers: int = 1,
        storage_path: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.time, self.label, self.label_time = time, label, label_time
        self.time_unit, self.cutoff, self.ignore = time_unit, cutoff, ignore
        self.base, self.window, self.num_draws = base, window, num_draws
        self.num_epochs, self.seed, self.num_workers = num_epochs, seed, num_workers
        self.storage_path, self.config = storage_path, config

    def fit(self, table: Table) -> Self:
        """Makes a corpus of the table and trains on it; the table is streamed.

        Rows without a label are left out.

        Raises:
            UserError: for impossible settings, and for what is wrong with the table.
        """
        config = self._configure(self._folder())
        open_store(config.tracking)
        uri = f"{config.storage_path}/tables/{config.name}"
        write_table(table, uri)
        with train_table(replace(config, data=uri)) as trained:
            self.weights_ = trained.fitted[RETRIEVAL].weights
        remove_folder(uri)
        self.config_ = config
        self._predictor = TablePredictor(config, self.weights_)
        reader = self._predictor.reader
        names = pa.array(reader.classes.names)
        self.classes_ = names.cast(reader.schema.field(self.label).type).to_numpy(False)
        self.feature_names_in_ = np.array(reader.inputs, object)
        return self

    def append(self, table: Table) -> Self:
        """Adds labelled rows to the corpus: the next prediction can look them up, untrained.

        They are held in memory. Their labels were known no earlier than any that is there.

        Raises:
            UserError: as `ingest.append.append_rows`.
        """
        check_is_fitted(self)
        append_rows(open_corpus(self.config_.corpus_uri), to_arrow(table))
        return self

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities of `classes_`, float32 `[N, C]`, by the newest version of the corpus.

        Args:
            table: The columns `feature_names_in_`; others are not looked at.

        Raises:
            UserError: if a column is missing, a value does not fit, or a time cannot be read.
        """
        predictor = self._newest()
        none = np.empty((0, len(self.classes_)), np.float32)
        return np.concatenate([none, *map(predictor, batches(table))])

    def predict(self, table: Table) -> np.ndarray:
        """The most probable class of each row, `[N]`; see `predict_proba`."""
        return self.classes_[self.predict_proba(table).argmax(axis=1)]

    def score(self, table: Table, sample_weight: np.ndarray | None = None) -> float:
        """Accuracy on rows of which every one has a label.

        Raises:
            UserError: as `predict_proba`, and if a row has no label or an unknown one.
        """
        rows = to_arrow(table)
        reader = self._newest().reader
        label = reader.classes.encode(reader.conform(rows, [self.label])[self.label])
        if (label < 0).any():
            raise UserError(f"{self.label}: row {label.argmin()} has no label; leave it out")
        found = self.predict_proba(rows).argmax(axis=1)
        return float(accuracy_score(label, found, sample_weight=sample_weight))

    def _newest(self) -> TablePredictor:
        """The model over the newest version of the corpus, whoever appended to it."""
        check_is_fitted(self)
        self._predictor.refresh()
        return self._predictor

    def _folder(self) -> str:
        if self.storage_path is not None:
            return normalise(self.storage_path)
        folder = tempfile.mkdtemp(prefix="raclib-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _configure(self, folder: str) -> TableConfig:
        given = {
            "name": f"fit-{secrets.token_hex(4)}",
            "storage_path": folder,
            "tracking.uri": _tracking_uri(folder),
            "time": self.time,
            "label": self.label,
            "label_time": self.label_time,
            "time_unit": self.time_unit,
            "cutoff": self.cutoff,
            "columns.ignore": list(self.ignore),
            "base.kind": self.base,
            "split.window": self.window,
            "retrieval.num_draws": self.num_draws,
            "train.num_epochs": self.num_epochs,
            "seed": self.seed,
            "num_workers": self.num_workers,
        }
        config = configure(TableConfig, {**given, **(self.config or {})})
        return resolve_paths(config, corpus=config.corpus_uri)


def _tracking_uri(folder: str) -> str:
    """A file in the folder; where that is not of this machine, what jobs take by default."""
    local = local_path(folder)
    return sqlite_uri(local / "mlflow.db") if local else TrackingConfig().uri
