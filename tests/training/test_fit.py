"""Training on real Ray Train workers: shared batches, interrupted runs, killed processes."""

import os
import signal
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusStore
from raclib.errors import UserError
from raclib.run.tracking import RunLogger
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.fit import fit


@pytest.fixture(scope="module")
def store(tiny_corpus):
    with CorpusStore.start(tiny_corpus, num_servers=2) as store:
        yield store


@pytest.fixture(scope="module")
def uninterrupted(store, tiny_config, tmp_path_factory, new_store):
    """What a run of one worker predicts when nothing happens to it."""
    from raclib.run.config import TrackingConfig
    from raclib.run.tracking import track

    uri = new_store(tmp_path_factory.mktemp("mlflow"))
    with track(TrackingConfig(uri), "retrieval", "whole", {"seed": 0}, {}) as logger:
        task = AmazonTask(tiny_config, store.corpus, store.client())
        return fit(task, tiny_config, True, logger), logger


def logger_that(logger: RunLogger, acts: dict) -> RunLogger:
    """A logger that does something once when a step is logged, by step.

    The class is local so that workers get it by value: they cannot import this file.
    """
    database = Path(logger.uri.removeprefix("sqlite:///"))

    class Interrupter(RunLogger):
        def log(self, metrics, step=0, rank=0):
            super().log(metrics, step, rank)
            marker = database.with_suffix(f".acted{step}")
            if step in acts and rank == 0 and not marker.exists():
                marker.touch()
                acts[step]()

    return Interrupter(*astuple(logger))


def fit_run(store, config, logger, local=True):
    return fit(AmazonTask(config, store.corpus, store.client(local)), config, True, logger)


def assert_equal_runs(found, expected, tolerance=1e-6):
    np.testing.assert_allclose(found.test.probability, expected.test.probability, rtol=tolerance)
    for name, values in expected.weights.items():
        np.testing.assert_allclose(found.weights[name], values, rtol=tolerance, atol=tolerance)


def test_losses_of_the_first_steps_are_golden(uninterrupted):
    from mlflow.tracking import MlflowClient

    logger = uninterrupted[1]
    points = MlflowClient(logger.uri).get_metric_history(logger.run_id, "loss")
    losses = [point.value for point in sorted(points, key=lambda point: point.step)]
    np.testing.assert_allclose(losses[:4], GOLDEN, rtol=2e-3)


GOLDEN = [0.709055, 0.675001, 0.754708, 0.648968]


def test_two_workers_reach_what_one_reaches(store, tiny_run, logger, uninterrupted):
    found = fit_run(store, tiny_run(num_workers=2), logger)
    assert_equal_runs(found, uninterrupted[0], tolerance=2e-3)


def test_what_has_ended_is_not_done_again(store, tiny_config, logger, uninterrupted, monkeypatch):
    monkeypatch.setattr("raclib.training.fit.TorchTrainer", None)
    found = fit_run(store, tiny_config, logger)
    assert_equal_runs(found, uninterrupted[0], tolerance=0)
    np.testing.assert_array_equal(found.test.label, uninterrupted[0].test.label)


@pytest.mark.slow
def test_an_interrupted_run_with_killed_servers_and_a_killed_worker_comes_to_the_same_end(
    pids, store, tiny_run, logger, uninterrupted
):
    before = pids(store)

    def fail():
        raise RuntimeError("power cut")

    def kill_servers():
        for pid in before:
            os.kill(pid, signal.SIGKILL)

    def kill_worker():
        os.kill(os.getpid(), signal.SIGKILL)

    config = tiny_run()
    fails_once = replace(config, train=replace(config.train, max_failures=0))
    with pytest.raises(Exception, match="power cut"):
        interrupter = logger_that(logger, {6: kill_servers, 10: fail})
        fit_run(store, fails_once, interrupter, local=False)
    assert not set(before) & set(pids(store))
    found = fit_run(store, config, logger_that(logger, {14: kill_worker}), local=False)
    assert_equal_runs(found, uninterrupted[0])
    steps = logged_steps(logger)
    # Steps 9 and 10 came after the checkpoint at 8: they are done twice, those before it once.
    assert steps[:16] == [*range(1, 11), *range(9, 15)]
    # The worker was killed two steps after a checkpoint of which Ray Train may not have known.
    assert steps[16:] in ([*range(9, 17)], [*range(13, 17)])


def logged_steps(logger):
    from mlflow.tracking import MlflowClient

    points = MlflowClient(logger.uri).get_metric_history(logger.run_id, "loss")
    return [point.step for point in sorted(points, key=lambda point: point.timestamp)]


def test_a_mistake_in_a_worker_is_one_line_and_not_retried(store, tiny_run, logger):
    config = tiny_run(train=replace(tiny_run().train, learning_rate=1e30))
    with pytest.raises(UserError, match="NaN or infinity: lower the learning rate"):
        fit_run(store, config, logger)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_workers": 3}, "train.batch_size: 32 must be a multiple of 3"),
        ({"num_workers": 8}, r"num_workers: 8 workers need 9 cores"),
    ],
)
def test_impossible_settings_are_named(store, tiny_run, logger, changes, words):
    with pytest.raises(UserError, match=words):
        fit_run(store, tiny_run(**changes), logger)
