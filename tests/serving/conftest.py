"""A small table whose rule may turn around, and a classifier fitted on it."""

import copy
import shutil
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest

from raclib import HistoryClassifier
from raclib.serving.table_predictor import TablePredictor

FIRST = pd.Timestamp("2020-01-01")
DAY = pd.Timedelta("1D")


def generate(start: int, num_rows: int, seed: int, turned: bool = False) -> pd.DataFrame:
    """Rows of every kind of column, one an hour; their labels are known a day later.

    The label is `yes` where `a` is positive (in 19 rows of 20), or the other way round.
    """
    rng = np.random.default_rng(seed)
    a, noise = rng.standard_normal((2, num_rows))
    kind = rng.choice(["x", "y", "z"], num_rows).astype(object)
    kind[rng.random(num_rows) < 0.1] = None
    is_yes = (a > 0) ^ (rng.random(num_rows) < 0.05) ^ turned
    time = FIRST + pd.to_timedelta(start + np.arange(num_rows), unit="h")
    return pd.DataFrame(
        {
            "happened": time,
            "a": np.where(rng.random(num_rows) < 0.05, np.nan, a),
            "noise": noise,
            "kind": kind,
            "shop_id": rng.integers(0, 200, num_rows),
            "words": [
                f"a text of {number} words or so" for number in rng.integers(0, 99, num_rows)
            ],
            "place": list(a[:, None] + 0.3 * rng.standard_normal((num_rows, 4))),
            "answer": np.where(is_yes, "yes", "no"),
            "known": time + DAY,
        }
    )


@pytest.fixture(scope="session")
def make_table():
    """Gives rows from an hour on; see `generate`."""
    return generate


@pytest.fixture(scope="session")
def history_table():
    """3,000 rows, shuffled, of which the hundred last have no label yet."""
    table = generate(0, 3000, seed=0)
    table.loc[2900:, "answer"] = None
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="session")
def shared_classifier(ray_cluster, history_table, tmp_path_factory):
    """Fitted on that table; not to be appended to."""
    return HistoryClassifier(
        time="happened",
        label="answer",
        label_time="known",
        window=400,
        storage_path=str(tmp_path_factory.mktemp("history")),
        config={
            "encoder.dim": 16,
            "key.dim": 8,
            "model.width": 16,
            "train.batch_size": 64,
            "train.num_epochs": 30,
            "split.num_bins": 4,
            "split.examples_per_bin": 60,
        },
    ).fit(history_table)


@pytest.fixture
def classifier(shared_classifier, tmp_path):
    """The same with a corpus of its own."""
    mine = copy.copy(shared_classifier)
    shutil.copytree(mine.config_.corpus_uri, tmp_path / "corpus")
    mine.config_ = replace(mine.config_, corpus=str(tmp_path / "corpus"))
    mine._predictor = TablePredictor(mine.config_, mine.weights_)
    return mine


@pytest.fixture(scope="module")
def model_uri(shared_classifier):
    """Where the model with retrieval was logged."""
    mlflow.set_tracking_uri(shared_classifier.config_.tracking.uri)
    (run,) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.`mlflow.runName` = 'retrieval'",
        output_format="list",
    )
    yield f"runs:/{run.info.run_id}/model"
    mlflow.set_tracking_uri(None)
