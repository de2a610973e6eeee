"""The model that MLflow loads predicts what the trained model predicts."""

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from raclib.corpus import CorpusStore, open_corpus
from raclib.errors import UserError
from raclib.ingest.keys import KeyTransform
from raclib.serving.rekey import Changes, rekey_corpus
from raclib.serving.score import ScoreConfig, score
from raclib.serving.table_model import make_signature
from raclib.serving.table_predictor import TablePredictor
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.task import TableTask
from raclib.training.fitted import find_fitted


@pytest.fixture(scope="module")
def loaded(model_uri):
    """The model with retrieval, as MLflow loads it."""
    return mlflow.pyfunc.load_model(model_uri)


@pytest.fixture(scope="module")
def corpus_rows(history_table):
    """The rows of the table in the order of the corpus: by the time their label was known."""
    labelled = history_table[history_table["answer"].notna()]
    return labelled.sort_values("known", kind="stable").reset_index(drop=True)


def test_rows_of_the_corpus_are_predicted_and_scored_as_the_training_job_did(
    shared_classifier, loaded, corpus_rows, tmp_path
):
    config = shared_classifier.config_
    corpus, base = prepare_base(config, open_corpus(config.corpus_uri))
    fitted = find_fitted(f"{config.storage_path}/{config.name}/retrieval")
    with CorpusStore.start(corpus) as store:
        task = TableTask(config, corpus, store.client(), base)
    # Rows known at the cutoff were scored by a base that did not see them; new rows need none.
    late = corpus.read("time")[task.splits.test] >= task.cutoff
    rows = task.splits.test[late]
    assert len(rows) > 80
    found = loaded.predict(corpus_rows.iloc[rows])
    assert list(found.columns) == ["no", "yes"]
    assert list(found.index) == rows.tolist()
    answers = np.log(fitted.test.probability[late]), base.log_probs(rows)
    record = loaded.unwrap_python_model().predictor._memory.record
    expected = np.exp(record.mix(task.read_event_times()[rows], answers))
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-5)
    corpus_rows.iloc[rows].to_parquet(tmp_path / "rows.parquet")
    out = str(tmp_path / "scored.parquet")
    run = f"{config.storage_path}/{config.name}"
    score(ScoreConfig(run, str(tmp_path / "rows.parquet"), out, evidence=2))
    scored = pd.read_parquet(out, columns=["probability_no", "probability_yes"])
    np.testing.assert_allclose(scored.to_numpy(), expected, atol=1e-5)


def test_new_categories_and_missing_values_are_predicted(loaded, corpus_rows):
    rows = corpus_rows.iloc[-5:].drop(columns=["answer", "known"]).copy()
    rows["kind"], rows["words"] = "never seen", None
    rows["a"] = np.nan
    rows["shop_id"] = [1, None, 3, 4, 5]
    found = loaded.predict(rows)
    assert np.isfinite(found.to_numpy()).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_missing_column_is_named(loaded, corpus_rows):
    rows = corpus_rows.drop(columns="kind")
    with pytest.raises(MlflowException, match=r"missing inputs.*kind"):
        loaded.predict(rows)
    with pytest.raises(UserError, match=r"no column is called 'kind'; needed are happened, a,"):
        loaded.unwrap_python_model().predict(rows)


def test_values_that_mean_something_else_are_refused(loaded, corpus_rows):
    rows = corpus_rows.iloc[:3]
    with pytest.raises(UserError, match=r"'happened' is int64, in the table it was timestamp"):
        loaded.predict(rows.assign(happened=[1, 2, 3]))
    with pytest.raises(UserError, match=r"row 1: time that cannot be read"):
        loaded.predict(rows.assign(happened=[rows["happened"].iloc[0], None, pd.Timestamp.now()]))
    with pytest.raises(UserError, match="'a': a value of type large_string does not fit double"):
        loaded.predict(rows.assign(a=["1", "2", "many"]))


def test_whole_numbers_and_texts_stand_for_the_same_values(loaded, corpus_rows):
    model = loaded.unwrap_python_model()
    rows = corpus_rows.iloc[:50].assign(a=1.0)
    same = rows.assign(
        a=1,
        shop_id=rows["shop_id"].astype(float),
        happened=rows["happened"].astype(str),
        kind=rows["kind"].astype("category"),
    )
    np.testing.assert_array_equal(model.predict(rows), model.predict(same))


def test_nothing_of_the_model_is_pickled(loaded, shared_classifier):
    assert torch.load(loaded._model_impl.context.artifacts["weights"], weights_only=True).keys()
    signature = make_signature(open_corpus(shared_classifier.config_.corpus_uri))
    flavor = loaded.metadata.flavors["python_function"]
    assert flavor["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert "python_model" not in flavor
    assert signature == loaded.metadata.signature


def test_keys_by_what_the_reader_learned(classifier, model_uri):
    corpus = open_corpus(classifier.config_.corpus_uri)
    later = rekey_corpus(corpus, Changes(), metric_of=model_uri)
    assert later.version == corpus.version + 1
    before, after = KeyTransform.of(corpus), KeyTransform.of(later)
    assert (after.parts["place"], after.num_nca) == (before.parts["place"], 32)
    assert after.base_dim == before.base_dim > 0
    with pytest.raises(UserError, match=r"no reader of keys of \d+ numbers"):
        narrow = rekey_corpus(later, Changes(dim=3))
        rekey_corpus(narrow, Changes(), metric_of=model_uri)
    with pytest.raises(UserError, match="no such model"):
        rekey_corpus(narrow, Changes(), metric_of=model_uri.replace("model", "none"))
    with pytest.raises(UserError, match="are not as wide as those the model was trained on"):
        TablePredictor(classifier.config_, classifier.weights_)
