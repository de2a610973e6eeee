"""A run on a corpus belongs to its folder's life; one that is refused leaves nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from raclib.errors import UserError
from raclib.run.config import TrackingConfig
from raclib.serving import trained
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.fitted import Fitted
from raclib.training.predict import Predictions


@pytest.fixture
def config(tiny_run, new_store, tmp_path):
    return tiny_run(tracking=TrackingConfig(new_store(tmp_path)))


@pytest.fixture
def train(tiny_corpus, monkeypatch):
    """Trains nothing; gives the ids of the job's run and of those of its methods."""
    fitted = Fitted(Predictions(np.empty((0, 2)), np.empty(0)), {})
    monkeypatch.setattr(trained, "fit", lambda *args: fitted)

    def train(config, make_task=lambda *args: AmazonTask(*args[:3])):
        def prepare(config):
            return tiny_corpus, None

        with trained.train_run(config, prepare, make_task, lambda *args: None) as found:
            return [found.job.run_id, *(logger.run_id for logger in found.loggers.values())]

    return train


def test_a_run_continues_until_its_folder_is_removed(config, train):
    first = train(config)
    assert train(config) == first
    shutil.rmtree(config.storage_path)
    changed = replace(config, seed=7)
    second = train(changed)
    assert not set(first) & set(second)
    run = MlflowClient(config.tracking.uri).get_run(second[0])
    assert run.data.params["seed"] == "7"
    assert "resumed" not in run.data.tags


def test_a_run_that_is_refused_is_not_tracked(config, train, tmp_path):
    def refuse(*args):
        raise UserError("split: too small")

    with pytest.raises(UserError, match="split: too small"):
        train(config, refuse)
    client = MlflowClient(config.tracking.uri)
    experiment = client.get_experiment_by_name("amazon").experiment_id
    assert client.search_runs([experiment]) == []
    assert not list(tmp_path.glob("runs/*/settings.json"))
