"""A real service: two replicas, one writer, rows and labels taken in while it answers."""

import time
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from mlflow.tracking import MlflowClient

from raclib.corpus import open_corpus
from raclib.serving.service.replica import open_table
from raclib.serving.service.writer import NAMESPACE, _name, stop_writer

WAIT_S = 60


def version_of_each_replica(client) -> dict[str, int]:
    """Asks until both replicas have answered."""
    found: dict[str, int] = {}
    end = time.monotonic() + WAIT_S
    while len(found) < 2:
        health = client.get("/v1/health").json()
        found[health["replica"]] = health["corpus_version"]
        assert time.monotonic() < end, "a replica does not answer"
    return found


def wait_until_known(client, version: int) -> float:
    """Seconds until each of two replicas knows a version."""
    begin = time.monotonic()
    while min(version_of_each_replica(client).values()) < version:
        assert time.monotonic() < begin + WAIT_S, "a replica does not learn"
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def later(make_table):
    return make_table(3000, 60, seed=11)


def test_answers_are_those_of_the_predictor(served, later, to_rows):
    found = served.ask("/v1/predict", rows=to_rows(later))
    predictor = open_table(served.config.run)
    assert found["corpus_version"] == predictor.corpus.version
    answers = predictor.explain(pa.Table.from_pandas(later), 0)
    for name, expected_NC in (
        ("probabilities", answers.probabilities_NC),
        ("base", answers.base_NC),
    ):
        shown = pd.DataFrame([one[name] for one in found["predictions"]])[["no", "yes"]]
        np.testing.assert_allclose(shown.to_numpy(), expected_NC, atol=1e-5)


def test_evidence_is_of_the_corpus_row_by_row(served, later, to_rows):
    found = served.ask("/v1/predict", rows=to_rows(later), evidence=7)
    corpus = open_corpus(served.corpus, found["corpus_version"])
    label, event, known = (corpus.read(name) for name in ("label", "event_time", "time"))
    for row, one in zip(later.itertuples(), found["predictions"], strict=True):
        assert len(one["evidence"]) == 7
        weights = [past["weight"] for past in one["evidence"]]
        assert weights == sorted(weights, reverse=True)
        for past in one["evidence"]:
            number = past["id"]
            assert past["label"] == ["no", "yes"][label[number]]
            for name, time_N in (("event_time", event), ("label_time", known)):
                assert pd.Timestamp(past[name]).value // 10**6 == time_N[number]
            assert pd.Timestamp(past["label_time"]) < row.happened.tz_localize("UTC")
            assert past["weight"] <= one["probabilities"][past["label"]] + 1e-5


def turn_rule(served, make_table, to_rows) -> float:
    """Adds rows of the turned rule, once; seconds until each replica knew them."""
    new = to_rows(make_table(3100, 600, seed=13, turned=True), with_label=True)
    for start in range(0, len(new), 200):
        ids = [f"turned-{number}" for number in range(start, start + 200)]
        said = served.ask("/v1/rows", rows=new[start : start + 200], ids=ids)
    return wait_until_known(served, said["corpus_version"])


def test_rows_that_come_change_answers_of_each_replica_without_training(
    served, make_table, to_rows
):
    turned = make_table(4000, 100, seed=12, turned=True)
    is_yes = (turned["answer"] == "yes").to_numpy()

    def accuracy() -> float:
        found = served.ask("/v1/predict", rows=to_rows(turned))
        yes = np.array([one["probabilities"]["yes"] for one in found["predictions"]])
        return float(((yes > 0.5) == is_yes).mean())

    assert accuracy() < 0.3
    seconds = turn_rule(served, make_table, to_rows)
    print(f"each of two replicas knew the rows {seconds:.2f} s after the answer")
    assert all(accuracy() > 0.75 for _ in range(8))


def test_a_row_is_taken_in_once_however_often_it_comes(served, make_table, to_rows):
    rows = to_rows(make_table(4200, 5, seed=14), with_label=True)
    ids = [f"once-{number}" for number in range(5)]
    first = served.ask("/v1/rows", rows=rows, ids=ids)
    num_rows = len(open_corpus(served.corpus))
    ray.kill(ray.get_actor(_name(served.corpus), NAMESPACE), no_restart=False)
    again = served.ask("/v1/rows", rows=rows, ids=ids)
    assert again["rows"] == first["rows"]
    assert len(open_corpus(served.corpus)) == num_rows
    other = [{**rows[0], "answer": "no" if rows[0]["answer"] == "yes" else "yes"}]
    refused = served.post("/v1/rows", {"rows": other, "ids": ids[:1]})
    assert refused.status_code == 409 and "another id" in refused.json()["detail"]


def test_a_label_comes_later_and_is_corrected(served, make_table, to_rows):
    (row,) = to_rows(make_table(4300, 1, seed=15))
    before = served.get("/v1/quality").json()["num_labels"]
    asked = {"rows": [row], "remember": True, "ids": ["later"]}
    said = served.ask("/v1/predict", **asked)["predictions"][0]
    assert said["id"] == "later"
    label = {"id": "later", "label_time": "2020-07-01T12:00:00Z"}
    first = served.ask("/v1/labels", **label, label="yes")
    assert served.ask("/v1/labels", **label, label="yes")["row"] == first["row"]
    second = served.ask("/v1/labels", **label, label="no")
    corpus = open_corpus(served.corpus)
    numbers = [first["row"], second["row"]]
    assert corpus.read("label")[numbers].tolist() == [1, 0]
    for name in ("key", "event_time"):
        one, other = corpus.read(name)[numbers]
        np.testing.assert_array_equal(one, other)
    wait_until_known(served, second["corpus_version"])
    near = {**row, "happened": "2020-07-02T00:00:00Z"}
    for _ in range(8):
        (found,) = served.ask("/v1/predict", rows=[near], evidence=10)["predictions"]
        shown = [past["id"] for past in found["evidence"]]
        assert second["row"] in shown and first["row"] not in shown
    # What was answered is judged by the first label.
    assert served.get("/v1/quality").json()["num_labels"] == before + 1


def test_quality_is_of_answers_whose_label_came(served, make_table, to_rows):
    turn_rule(served, make_table, to_rows)
    table = make_table(4400, 40, seed=16, turned=True)
    ids = [f"judged-{number}" for number in range(40)]
    before = served.get("/v1/quality").json()["num_labels"]
    said = served.ask("/v1/predict", rows=to_rows(table), remember=True, ids=ids)
    for name, label in zip(ids, table["answer"], strict=True):
        served.ask("/v1/labels", id=name, label=label, label_time="2020-08-01")
    found = served.get("/v1/quality").json()
    assert found["num_labels"] == before + 40
    methods = ["served", "base", "recent_rates", "nearest_neighbours"]
    assert list(found["scores"]) == methods
    assert found["over_time"][-1]["num_labels"] == before + 40
    if before <= 1:
        served_p = [
            one["probabilities"][label]
            for one, label in zip(said["predictions"], table["answer"], strict=True)
        ]
        low = -np.log(served_p).sum() / (before + 40)
        assert found["scores"]["served"]["log_loss"] >= low - 1e-3
    assert found["scores"]["served"]["accuracy"] > found["scores"]["base"]["accuracy"]


def test_the_page_answers_and_shows_past_cases(served, make_table, to_rows):
    (row,) = to_rows(make_table(4600, 1, seed=17))
    form = {name: "" if value is None else str(value) for name, value in row.items()}
    page = requests.post(served.address, data={**form, "words": "<b>bold</b>"}, timeout=60)
    assert page.status_code == 200
    for mark in ('id="answer"', 'id="cases"', 'id="quality"', "case 8", "&lt;b&gt;bold"):
        assert mark in page.text, mark
    assert "<b>bold" not in page.text and "<script" not in page.text
    wrong = requests.post(served.address, data={**form, "a": "much"}, timeout=60)
    assert "a: cannot be read as double" in wrong.text and "much" in wrong.text
    assert "No answered row" not in served.get("/").text


def test_quality_is_a_curve_in_mlflow(served):
    client = MlflowClient(served.config.tracking.uri)
    end = time.monotonic() + WAIT_S
    while not (runs := _runs(client)) or "served/log_loss" not in runs[0].data.metrics:
        assert time.monotonic() < end, "nothing is logged"
        time.sleep(0.5)
    assert len(runs) == 1
    points = client.get_metric_history(runs[0].info.run_id, "served/log_loss")
    assert points[-1].step <= served.get("/v1/quality").json()["num_labels"]


def _runs(client: MlflowClient) -> list:
    experiment = client.get_experiment_by_name("serving")
    return client.search_runs([experiment.experiment_id]) if experiment else []


def test_a_service_that_starts_again_has_it_all(served, make_table, to_rows):
    """What one leaves on storage: another is made of it beside it."""
    (row,) = to_rows(make_table(4700, 1, seed=18))
    served.ask("/v1/predict", rows=[row], remember=True, ids=["over"])
    quality = served.get("/v1/quality").json()
    expected = served.ask("/v1/predict", rows=[row], evidence=10)
    stop_writer(served.corpus)
    for name in _replicas():
        ray.kill(ray.get_actor(name, "serve"), no_restart=False)
    end = time.monotonic() + WAIT_S
    while served.get("/v1/health").status_code != 200:
        assert time.monotonic() < end, "it does not come back"
        time.sleep(0.2)
    again = served.ask("/v1/predict", rows=[row], evidence=10)
    assert again["corpus_version"] == expected["corpus_version"]
    assert again["predictions"][0]["evidence"] == expected["predictions"][0]["evidence"]
    assert served.get("/v1/quality").json() == quality
    label = {"id": "over", "label": "yes", "label_time": "2020-09-01"}
    assert served.ask("/v1/labels", **label)["row"] == len(open_corpus(served.corpus)) - 1


def _replicas() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in named if "SERVE_REPLICA" in one["name"]]


def test_no_request_is_answered_by_500(served):
    """After the others: labels that are known now make all that come later known now."""
    described = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    asked = settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    paths = set()
    for found in described.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            # What has no body has no wrong one.
            with suppress(Unsatisfiable):
                asked(given(operation.as_strategy(generation_mode=mode))(refuse_500))()
        paths.add(operation.path)
    assert paths == {"/v1/health", "/v1/predict", "/v1/rows", "/v1/labels", "/v1/quality"}


def refuse_500(case) -> None:
    assert case.call().status_code < 500
