"""Processes of a service are killed while rows come and answers are asked for."""

import os
import signal
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
from service_load import Load

from raclib.corpus import open_corpus
from raclib.ingest.append import Appender
from raclib.serving.service.journal import entries, read_rows
from raclib.serving.service.writer import NAMESPACE, _name

pytestmark = pytest.mark.slow
WAIT_S = 120


def pid_of(name: str, namespace: str) -> int:
    """The process of an actor."""
    actor = ray.get_actor(name, namespace)
    return ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=WAIT_S)


def replicas() -> list[str]:
    """Names of the actors that answer."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in named if one["name"].startswith("SERVE_REPLICA::")]


def wait_for_replicas(client, version: int, without: str = "none") -> None:
    """Returns when two answer, each by this version or a newer one, and none is that."""
    found, end = set(), time.monotonic() + WAIT_S
    while len(found) < 2:
        assert time.monotonic() < end, "a replica does not answer"
        answer = client.get("/v1/health")
        if answer.status_code == 200 and answer.json()["corpus_version"] >= version:
            found.add(answer.json()["replica"])
        found = {name for name in found if not without.endswith(name)}
        time.sleep(0.02)


def kill(what: str, client, load: Load) -> float:
    """Kills a process of the service; seconds until the service is whole again."""
    name = {
        "replica": replicas()[0],
        "writer": _name(client.corpus),
        "controller": "SERVE_CONTROLLER_ACTOR",
    }[what]
    pid = pid_of(name, NAMESPACE if what == "writer" else "serve")
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    seconds = load.seconds_to_append(killed)
    if what == "replica":
        wait_for_replicas(client, 0, without=name)
        seconds = time.monotonic() - killed
    return seconds


@pytest.fixture(scope="module")
def killed(served, make_table, to_rows):
    """What came of a load under which one process after the other was killed, and the corpus
    before and after."""
    before = open_corpus(served.corpus)
    happened, known = pd.Timestamp("2020-05-01"), pd.Timestamp("2020-05-02")
    table = make_table(2900, 1000, seed=21).assign(happened=happened, known=known)
    asked = to_rows(make_table(3050, 3, seed=22))
    with Load(served, to_rows(table, with_label=True), asked) as load:
        load.seconds_to_append(0)
        for what in ("replica", "writer", "controller", "writer"):
            seconds = kill(what, served, load)
            print(f"{what}: killed; whole again after {seconds:.1f} s")
    print(f"{len(load.placed)} rows, {len(load.answers)} answers; failed: {load.failures}")
    return load, before, open_corpus(served.corpus)


@pytest.fixture(scope="module")
def kept(killed):
    """The journal's rows of the load, in the order of the corpus."""
    _, before, after = killed
    parts = [read_rows(after.uri, entry.path) for entry in entries(after)]
    rows = pa.concat_tables(parts).sort_by("corpus_row")
    return rows.filter(pc.greater_equal(rows["corpus_row"], len(before)))


def test_each_acknowledged_row_is_there_once(killed):
    load, before, after = killed
    assert set(load.placed) == set(load.sent), load.failures
    assert len(after) == len(before) + len(load.sent)
    assert sorted(load.placed.values()) == list(range(len(before), len(after)))


def test_each_row_is_what_was_sent(killed, kept):
    load, _, _ = killed
    assert kept["corpus_row"].to_pylist() == [load.placed[name] for name in kept["id"].to_pylist()]
    sent = pd.DataFrame([load.sent[name] for name in kept["id"].to_pylist()])
    rows = pd.DataFrame(kept["row"].to_pylist())
    for name in ("happened", "known"):
        sent[name] = pd.to_datetime(sent[name]).dt.tz_localize(None).astype("datetime64[ms]")
        rows[name] = rows[name].astype("datetime64[ms]")
    pd.testing.assert_frame_equal(rows, sent[rows.columns])


def test_the_corpus_has_what_these_rows_encode_to(killed, kept):
    _, before, after = killed
    appender = Appender.of(after)
    rows, times = appender.read(pa.Table.from_struct_array(kept["row"].combine_chunks()))
    # A label that comes late is known from the newest one on.
    expected = appender.encode(rows, np.maximum(times.known, before.time_range[1]))
    assert set(expected) <= set(after.fields)
    for name, array in expected.items():
        found = after.read(name, len(before))
        # To the last digit of a half: products of few rows and of many differ in it.
        np.testing.assert_allclose(found, array, rtol=2e-3, atol=1e-6, err_msg=name)


def test_each_answer_shows_rows_of_the_corpus(killed):
    load, _, after = killed
    shown = pd.DataFrame(
        past | {"version": answer["corpus_version"]}
        for answer in load.answers
        for one in answer["predictions"]
        for past in one["evidence"]
    )
    assert len(shown) and shown.weight.between(0, 1 + 1e-5).all()
    label, event, known = (after.read(name) for name in ("label", "event_time", "time"))
    assert (shown.label == np.array(["no", "yes"])[label[shown.id]]).all()
    for name, time_N in (("event_time", event), ("label_time", known)):
        said = pd.to_datetime(shown[name], format="ISO8601").dt.tz_localize(None)
        said_ms = said.astype("datetime64[ms]").astype(np.int64)
        np.testing.assert_array_equal(said_ms, time_N[shown.id])


def test_each_remembered_answer_is_judged_once(killed, kept, served):
    answered = pc.sum(pc.is_valid(kept["answers"])).as_py()
    assert 0 < answered < len(kept)
    whole = pa.concat_tables(read_rows(killed[2].uri, one.path) for one in entries(killed[2]))
    judged = pc.sum(pc.is_valid(whole["answers"])).as_py()
    assert served.get("/v1/quality").json()["num_labels"] == judged


def test_both_replicas_answer_by_all_rows(killed, served):
    _, _, after = killed
    wait_for_replicas(served, after.version)
