"""What MLflow is told, and how a run ends."""

import pytest
from mlflow.tracking import MlflowClient

from raclib.run.config import TrackingConfig
from raclib.run.tracking import environment_tags, flatten, track
from raclib.tasks.amazon.config import AmazonConfig


@pytest.fixture(scope="module")
def config(tmp_path_factory, new_store):
    return TrackingConfig(new_store(tmp_path_factory.mktemp("tracking")))


def run_of(logger):
    return MlflowClient(logger.uri).get_run(logger.run_id)


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_broken_run_says_how_it_ended(config, error, status):
    with pytest.raises(error), track(config, "broken", status, {"a": 1}, {}) as logger:
        raise error
    assert run_of(logger).info.status == status


def test_a_run_of_the_same_key_is_continued_and_says_so(config):
    with track(config, "first", "key", {"a": 1}, {"tag": "x"}) as first:
        first.log({"loss": 2.0}, step=1)
    with track(config, "first", "key", {"a": 1}, {"tag": "x"}) as again:
        again.log_steps({2: {"loss": 1.0}, 3: {"loss": 0.5, "gap": 4.0}})
        again.log({"loss": 9.0}, step=4, rank=1)
    assert again.run_id == first.run_id
    run = run_of(first)
    assert run.info.status == "FINISHED"
    assert run.data.tags["resumed"] == "true"
    assert run.data.params == {"a": "1"}
    history = MlflowClient(first.uri).get_metric_history(first.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert run.data.metrics == {"loss": 0.5, "gap": 4.0}


def test_runs_inside_a_run_are_nested(config):
    with (
        track(config, "outer", "outer", {}, {}) as outer,
        track(config, "inner", "inner", {}, {}) as inner,
    ):
        pass
    assert run_of(inner).data.tags["mlflow.parentRunId"] == outer.run_id


def test_the_resolved_configuration_is_flat():
    flat = flatten(AmazonConfig(name="x"))
    assert flat["name"] == "x"
    assert flat["train.batch_size"] == 1024
    assert flat["retrieval.estimator"] == "greedy"
    assert not any(isinstance(value, dict) for value in flat.values())


def test_the_environment_is_named():
    tags = environment_tags()
    assert set(tags) == {"host", "git_commit"}
    assert all(tags.values())


def test_no_parameter_holds_a_signature():
    url = "https://me:word@host/r.jsonl?year=2011&sig=word"
    config = AmazonConfig(reviews=[url], tracking=TrackingConfig("http://host:5000"))
    params = flatten(config)
    assert params["reviews"] == ["https://host/r.jsonl?year=2011"]
    assert "word" not in str(params)
