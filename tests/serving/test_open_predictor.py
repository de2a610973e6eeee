"""A model is found by its run, in a folder or in MLflow, and answers alike."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

from raclib.errors import UserError
from raclib.run.paths import sqlite_uri
from raclib.serving.arrow import to_arrow
from raclib.serving.open_predictor import open_predictor


@pytest.fixture
def run(shared_classifier):
    return f"{shared_classifier.config_.storage_path}/{shared_classifier.config_.name}"


def test_a_runs_folder_and_mlflow_give_the_same(shared_classifier, run, model_uri, make_table):
    rows = to_arrow(make_table(3000, 100, seed=1))
    expected = open_predictor(run).explain(rows, 5)
    assert expected.version == shared_classifier._predictor.corpus.version
    for other in (open_predictor(model_uri), shared_classifier._predictor):
        found = other.explain(rows, 5)
        np.testing.assert_allclose(found.probabilities_NC, expected.probabilities_NC, atol=1e-5)
        np.testing.assert_array_equal(found.rows_NE, expected.rows_NE)
    served = mlflow.pyfunc.load_model(model_uri).predict(make_table(3000, 100, seed=1))
    np.testing.assert_allclose(served, expected.probabilities_NC, atol=1e-5)


def test_an_earlier_version_of_the_corpus(run):
    predictor = open_predictor(run, version=3)
    assert predictor.corpus.version == 3
    with pytest.raises(UserError, match="are not as wide"):
        open_predictor(run, version=2)  # its keys know nothing of the base classifier


def test_what_is_not_there_is_said_in_a_line(run, model_uri, tmp_path, monkeypatch):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (copied / "retrieval" / "fitted.pt").unlink()
    wrong = {
        str(tmp_path / "none"): "no run is here; give the folder of a run",
        str(copied): "has no trained model with retrieval; train it to its end",
        model_uri.replace("model", "none"): "no such model",
        "models:/none/1": "no such model",
    }
    for place, message in wrong.items():
        with pytest.raises(UserError, match=message) as told:
            open_predictor(place)
        assert "\n" not in str(told.value)
    settings = json.loads((copied / "settings.json").read_text())
    (copied / "settings.json").write_text(json.dumps({**settings, "no.such": 1}))
    shutil.copy(f"{run}/retrieval/fitted.pt", copied / "retrieval")
    with pytest.raises(UserError, match="no"):
        open_predictor(str(copied))


def test_no_store_is_made_by_looking_for_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)
    with pytest.raises(UserError, match=r"run: no runs are kept in .*; set MLFLOW_TRACKING_URI"):
        open_predictor("runs:/0123/model")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "mlflow.db"))
    with pytest.raises(UserError, match="no such model"):
        open_predictor("runs:/0123/model")
