"""The estimator: scikit-learn's manners, and rows that are appended count at once."""

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray.data
from mlflow.tracking import MlflowClient
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from raclib import HistoryClassifier
from raclib.corpus import open_corpus
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE, FeatureReader, load_base
from raclib.ingest.files import TableFiles
from raclib.run.paths import absolute, sqlite_file
from raclib.serving.arrow import write_table
from raclib.tasks.table.base import prepare_base


@pytest.fixture(scope="module")
def later(make_table):
    """Rows that happened after all of the corpus, under the same rule."""
    return make_table(3000, 300, seed=1)


def test_it_learns(shared_classifier, later, history_table):
    assert shared_classifier.classes_.tolist() == ["no", "yes"]
    assert shared_classifier.score(later) > 0.75
    assert set(shared_classifier.predict(later)) == {"no", "yes"}
    with pytest.raises(UserError, match="row 0 has no label"):
        shared_classifier.score(history_table[history_table["answer"].isna()])


def test_rows_that_were_left_out_are_kept_in_the_run(shared_classifier):
    client = MlflowClient(shared_classifier.config_.tracking.uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "tables"]
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.mlflow.runName = '{shared_classifier.config_.name}'"
    )
    assert run.data.tags["skipped"] == "100 of 3,000 rows: no label (100)"


def test_appended_rows_change_the_answer_without_training(classifier, make_table):
    turned = make_table(3600, 300, seed=3, turned=True)
    assert classifier.score(turned) < 0.25
    weights = {name: values.clone() for name, values in classifier.weights_.items()}
    appended = make_table(3030, 500, seed=2, turned=True)
    classifier.append(appended.sample(frac=1, random_state=0))
    assert classifier.score(turned) > 0.75
    assert all(weights[name].equal(values) for name, values in classifier.weights_.items())


def test_a_row_sees_only_labels_that_were_known_when_it_happened(classifier, make_table):
    rows = make_table(3100, 20, seed=4)
    before = classifier.predict_proba(rows)
    # They happened before these rows, their labels were known after them.
    classifier.append(make_table(3096, 4, seed=5, turned=True))
    np.testing.assert_array_equal(classifier.predict_proba(rows), before)


def test_appended_rows_are_encoded_and_scored_like_those_of_the_table(
    classifier, make_table, history_table
):
    config, old = classifier.config_, open_corpus(classifier.config_.corpus_uri)
    again = history_table[history_table["answer"].notna()].nlargest(1, "known")
    classifier.append(again)
    new = open_corpus(config.corpus_uri)
    assert (new.version, len(new)) == (old.version + 1, len(old) + 1)
    for name in new.fields:
        np.testing.assert_array_equal(
            new.read(name, len(old)), new.read(name, len(old) - 1, -1 + len(new))
        )
    read = FeatureReader(new, classifier._predictor.reader.features.num_codes)
    base = load_base(new)
    expected = base.compress(base.log_probs(read(np.array([len(old)]))))
    np.testing.assert_array_equal(new.read(BASE, len(old)), expected)
    # A job on the longer corpus finds its scores.
    same, scores = prepare_base(config, new)
    assert same.version == new.version
    assert scores.probabilities(np.arange(len(new))).shape == (len(new), 2)


def test_labels_that_came_earlier_are_refused(classifier, make_table):
    with pytest.raises(UserError, match=r"row 0: its label was known at 2020-.*newest label"):
        classifier.append(make_table(2000, 5, seed=6))
    assert open_corpus(classifier.config_.corpus_uri).version == 3  # rows, base scores, keys


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": None}, "row 0: no label"),
        ({"answer": "perhaps"}, "'perhaps' is none of the 2 known classes"),
        ({"known": None}, "row 0: label_time that cannot be read"),
    ],
)
def test_rows_that_cannot_be_retrieved_are_refused(classifier, later, change, message):
    with pytest.raises(UserError, match=message):
        classifier.append(later.iloc[:3].assign(**change))
    with pytest.raises(UserError, match="no column is called 'known'"):
        classifier.append(later.drop(columns="known"))


def test_three_kinds_of_tables_are_predicted_alike(shared_classifier, later):
    expected = shared_classifier.predict_proba(later)
    arrow = pa.Table.from_pandas(later)
    for table in (arrow, ray.data.from_arrow(arrow)):
        np.testing.assert_array_equal(shared_classifier.predict_proba(table), expected)
    assert shared_classifier.predict_proba(later.iloc[:0]).shape == (0, 2)
    with pytest.raises(UserError, match="table: a list; give a pandas DataFrame"):
        shared_classifier.predict_proba([1, 2])


def test_three_kinds_of_tables_are_written_alike(ray_cluster, history_table, tmp_path):
    arrow = pa.Table.from_pandas(history_table)
    kinds = {"pandas": history_table, "arrow": arrow, "ray": ray.data.from_arrow(arrow)}
    found = {}
    for name, table in kinds.items():
        write_table(table, str(tmp_path / name))
        files = TableFiles.find(str(tmp_path / name))
        found[name] = pa.Table.from_batches(files.batches()).sort_by("happened")
    assert found["pandas"].equals(found["arrow"]) and found["pandas"].equals(found["ray"])


def test_it_is_an_estimator():
    made = HistoryClassifier(cutoff="0.5", config={"key.dim": 3})
    copied = clone(made).set_params(window=7)
    assert copied.get_params() == {**made.get_params(), "window": 7}
    with pytest.raises(NotFittedError):
        copied.predict_proba(pd.DataFrame())
    with pytest.raises(NotFittedError):
        copied.append(pd.DataFrame())


def test_options_that_are_not_there_are_named(history_table):
    for config, message in (({"key.dims": 3}, "'dims'"), ({"key.dim": -3}, "key.dim")):
        with pytest.raises(UserError, match=message):
            HistoryClassifier(config=config).fit(history_table)


def test_runs_lie_in_the_folder_of_storage_or_where_jobs_keep_them(tmp_path):
    folder = str(tmp_path / "a?b")
    assert sqlite_file(HistoryClassifier()._configure(folder).tracking.uri) == Path(
        folder, "mlflow.db"
    )
    remote = HistoryClassifier()._configure("s3://bucket/x").tracking.uri
    assert remote == absolute("sqlite:///mlflow.db")


def test_a_store_of_runs_that_does_not_answer_is_known_before_the_table_is_written(
    history_table, tmp_path
):
    made = HistoryClassifier(storage_path=str(tmp_path), config={"tracking.uri": "ftp://host"})
    with pytest.raises(UserError, match=r"tracking.uri: ftp://host: MLflow knows no such kind"):
        made.fit(history_table)
    assert not list(tmp_path.iterdir())


def test_raclib_is_light_until_it_is_asked_for():
    code = "import sys, raclib; assert not {'torch', 'ray', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_ray_dataset_is_fitted_and_mlflow_left_alone(ray_cluster, make_table, tmp_path):
    table = make_table(0, 600, seed=0).drop(columns=["known", "words", "place"])
    table["answer"] = (table["answer"] == "yes").astype(int) + 3
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mine.db'}")
    with mlflow.start_run() as mine:
        made = HistoryClassifier(time="happened", label="answer", num_epochs=1)
        made.fit(ray.data.from_pandas(table))
        assert mlflow.active_run().info.run_id == mine.info.run_id
        mlflow.log_metric("after", 1)
    assert mlflow.get_tracking_uri().endswith("mine.db")
    assert mlflow.get_run(mine.info.run_id).data.metrics == {"after": 1}
    mlflow.set_tracking_uri(None)
    assert made.classes_.tolist() == [3, 4]
    assert made.predict(table).dtype == np.int64
