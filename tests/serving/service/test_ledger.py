"""Rows are in the corpus once, whatever dies between two writes."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from raclib.corpus import append, open_corpus
from raclib.corpus.files import list_files
from raclib.errors import UserError
from raclib.ingest.append import append_rows
from raclib.serving.service import ledger as module
from raclib.serving.service import tidy
from raclib.serving.service.asked import (
    Done,
    NewLabels,
    NewRows,
    OtherRowError,
    Remember,
    UnknownIdError,
)
from raclib.serving.service.journal import left_out
from raclib.serving.service.ledger import Ledger

KNOWN_MS = np.datetime64("2020-09-01", "ms").astype(np.int64)
SCHEMA = pa.schema(
    {
        "happened": pa.timestamp("us"),
        "a": pa.float64(),
        "noise": pa.float64(),
        "kind": pa.string(),
        "shop_id": pa.int64(),
        "words": pa.string(),
        "place": pa.list_(pa.float64()),
        "answer": pa.string(),
        "known": pa.timestamp("us"),
    }
)


@pytest.fixture
def uri(shared_classifier, tmp_path):
    return str(shutil.copytree(shared_classifier.config_.corpus_uri, tmp_path / "corpus"))


def new_rows(make_table, ids, start=3000, seed=31):
    table = pa.Table.from_pandas(make_table(start, len(ids), seed), preserve_index=False)
    return NewRows(list(ids), [f"digest of {name}" for name in ids], table.cast(SCHEMA))


def remember(make_table, ids, seed=32):
    asked = new_rows(make_table, ids, seed=seed)
    answers_NMC = np.random.default_rng(0).random((len(ids), 4, 2), np.float32)
    answers_NMC /= answers_NMC.sum(axis=2, keepdims=True)
    rows = asked.rows.drop_columns(["answer", "known"])
    return Remember(asked.ids, asked.digests, rows, answers_NMC, 3)


def labels(ids, label, known=KNOWN_MS):
    times = pa.array([int(known)] * len(ids), pa.timestamp("ms")).cast(pa.timestamp("us"))
    return NewLabels(list(ids), pa.array([label] * len(ids)), np.full(len(ids), known), times)


def test_rows_of_several_requests_are_one_version(uri, make_table):
    before, ledger = open_corpus(uri), Ledger(uri)
    said = ledger.commit([new_rows(make_table, "ab"), new_rows(make_table, "cd", 3010, 33)])
    corpus = open_corpus(uri)
    assert (corpus.version, len(corpus)) == (before.version + 1, len(before) + 4)
    assert [one.version for one in said] == [corpus.version] * 2
    assert sorted(said[0].rows + said[1].rows) == list(range(len(before), len(corpus)))
    corpus.verify()


def test_rows_are_what_appending_makes_of_them(uri, make_table, tmp_path):
    shutil.copytree(uri, tmp_path / "other")
    asked = new_rows(make_table, "abcdef")
    Ledger(uri).commit([asked])
    expected = append_rows(open_corpus(str(tmp_path / "other")), asked.rows)
    found = open_corpus(uri)
    for name in found.fields:
        np.testing.assert_array_equal(found.read(name), expected.read(name))


def test_a_row_that_comes_again_is_known(uri, make_table):
    asked, ledger = new_rows(make_table, "ab"), Ledger(uri)
    (first,) = ledger.commit([asked])
    for _ in range(2):
        again, more = ledger.commit([asked, new_rows(make_table, "cd", 3010)])
        assert again.rows == first.rows
        ledger = Ledger(uri)
    assert len(open_corpus(uri)) == max(more.rows) + 1
    other = NewRows(["a"], ["another digest"], asked.rows.slice(0, 1))
    (refused,) = ledger.commit([other])
    assert isinstance(refused, OtherRowError)


def test_one_wrong_request_does_not_stop_the_others(uri, make_table):
    bad = new_rows(make_table, "x")
    place = bad.rows.column_names.index("place")
    wrong = bad.rows.set_column(place, "place", pa.array([[1.0]]))
    asked = [new_rows(make_table, "ab"), NewRows(bad.ids, bad.digests, wrong)]
    good, refused = Ledger(uri).commit(asked)
    assert isinstance(good, Done) and isinstance(refused, UserError)
    assert len(open_corpus(uri)) == good.rows[-1] + 1


def test_a_label_that_comes_late_is_known_from_the_newest_on(uri, make_table):
    ledger = Ledger(uri)
    newest = ledger.corpus.time_range[1]
    (said,) = ledger.commit([new_rows(make_table, "ab", start=100)])
    corpus = open_corpus(uri)
    assert corpus.read("time")[said.rows].tolist() == [newest, newest]
    assert corpus.read("event_time")[said.rows[0]] < newest


@pytest.mark.parametrize("dies_at", ["write_rows", "append_shard", "publish", "_take_in"])
def test_nothing_is_lost_or_doubled_when_it_dies(uri, make_table, monkeypatch, dies_at):
    ledger = Ledger(uri)
    (first,) = ledger.commit([new_rows(make_table, "ab")])
    owner = {"_take_in": Ledger, "publish": append}.get(dies_at, module)

    def die(*_):
        raise KeyboardInterrupt

    asked = new_rows(make_table, "cd", 3010, 34)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, dies_at, die)
        ledger.commit([asked])
    (said,) = Ledger(uri).commit([asked])
    corpus = open_corpus(uri)
    assert said.rows == [first.rows[-1] + 1, first.rows[-1] + 2]
    assert len(corpus) == said.rows[-1] + 1
    (again,) = Ledger(uri).commit([new_rows(make_table, "ab")])
    assert again.rows == first.rows


def test_of_two_writers_one_goes_on_after_the_other(uri, make_table):
    one, other = Ledger(uri), Ledger(uri)
    one.commit([new_rows(make_table, "ab")])
    asked = new_rows(make_table, "cd", 3010, 35)
    with pytest.raises(UserError, match="published by another writer"):
        other.commit([asked])
    (said,) = Ledger(uri).commit([asked])
    assert len(open_corpus(uri)) == said.rows[-1] + 1


def test_a_remembered_row_is_labelled_then_corrected(uri, make_table):
    ledger = Ledger(uri)
    asked = remember(make_table, ["r", "s"])
    assert ledger.remember([asked]) == [None]
    ledger = Ledger(uri)
    (first,) = ledger.commit([labels(["r"], "yes")])
    assert ledger.outcomes.total == 1
    version = ledger.corpus.version
    (same,) = ledger.commit([labels(["r"], "yes", KNOWN_MS + 1)])
    assert (same.rows, ledger.corpus.version) == (first.rows, version)
    (second,) = ledger.commit([labels(["r"], "no", KNOWN_MS + 5)])
    for one in (ledger, Ledger(uri)):
        assert left_out(one.corpus).tolist() == first.rows
        assert left_out(one.corpus, version + 1).tolist() == []
        assert one.outcomes.total == 1
        assert one.outcomes.last(9) == ledger.outcomes.last(9)
    corpus = open_corpus(uri)
    assert corpus.read("label")[first.rows + second.rows].tolist() == [1, 0]
    assert corpus.read("time")[second.rows[0]] == KNOWN_MS + 5
    (third,) = Ledger(uri).commit([labels(["r"], "yes", KNOWN_MS + 9)])
    assert left_out(open_corpus(uri)).tolist() == first.rows + second.rows
    assert third.rows[0] == second.rows[0] + 1


def test_a_row_that_came_with_its_label_is_corrected(uri, make_table):
    ledger, asked = Ledger(uri), new_rows(make_table, "ab")
    (first,) = ledger.commit([asked])
    is_yes = asked.rows["answer"][0].as_py() == "yes"
    (second,) = ledger.commit([labels(["a"], "no" if is_yes else "yes")])
    assert second.rows == [first.rows[-1] + 1]
    assert left_out(ledger.corpus).tolist() == first.rows[:1]
    assert ledger.outcomes.total == 0
    (again,) = ledger.commit([asked])
    assert again.rows == [*second.rows, first.rows[1]]


def test_two_labels_of_one_row_are_two_versions(uri, make_table):
    ledger = Ledger(uri)
    ledger.remember([remember(make_table, ["r"])])
    both = [labels(["r"], "yes"), labels(["r"], "no")]
    assert len(ledger.commit(both)) == 1
    assert len(ledger.commit(both[1:])) == 1
    assert len(left_out(ledger.corpus)) == 1


def test_small_files_are_merged_and_nothing_else_changes(uri, make_table, monkeypatch):
    monkeypatch.setattr(tidy, "MIN_FILES", 3)
    monkeypatch.setattr(tidy, "SETTLED_S", 0.0)
    ledger = Ledger(uri)
    for number in range(4):
        ledger.remember([remember(make_table, [f"r{number}"], seed=50 + number)])
    (first,) = ledger.commit([new_rows(make_table, "ab")])
    for number in range(3):
        ledger.commit([labels([f"r{number}"], "yes"), labels(["b"], "no" if number % 2 else "yes")])
    before = ledger.corpus
    versions = [open_corpus(uri, version) for version in range(3, before.version + 1)]
    out = [left_out(each) for each in versions]
    for _ in range(2):
        ledger.merge()
        for each, rows in zip(versions, out, strict=True):
            np.testing.assert_array_equal(left_out(each), rows)
        for one in (ledger, Ledger(uri)):
            np.testing.assert_array_equal(left_out(one.corpus), out[-1])
            assert one.outcomes.total == 3
            (again,) = one.commit([new_rows(make_table, "ab")])
            assert again.rows[0] == first.rows[0]
    corpus = open_corpus(uri)
    assert len(corpus.shards) < len(before.shards)
    for name in corpus.fields:
        np.testing.assert_array_equal(corpus.read(name), before.read(name))
    assert len(list_files(f"{uri}/service/rows")) == 1
    assert len(list_files(f"{uri}/service/remembered")) == 1
    (later,) = ledger.commit([labels(["r3"], "no")])
    assert open_corpus(uri).read("label")[later.rows].tolist() == [0]
    assert Ledger(uri).outcomes.total == 4


def test_wrong_labels_are_refused(uri, make_table):
    ledger = Ledger(uri)
    ledger.remember([remember(make_table, ["r"])])
    unknown, early, strange = ledger.commit(
        [labels(["none"], "yes"), labels(["r"], "yes", 0)]
    ) + ledger.commit([labels(["r"], "perhaps")])
    assert isinstance(unknown, UnknownIdError)
    assert "label_time is before the row's own time" in str(early)
    assert "'perhaps' is none of the 2" in str(strange)


def test_another_row_under_an_id_is_refused(uri, make_table):
    ledger, asked = Ledger(uri), remember(make_table, ["r"])
    other = Remember(["r"], ["another digest"], asked.rows, asked.answers_NMC, 3)
    kept, refused = ledger.remember([asked]) + ledger.remember([other])
    assert kept is None and isinstance(refused, OtherRowError)
    assert ledger.remember([asked]) == [None]
    assert json.dumps(left_out(open_corpus(uri)).tolist()) == "[]"
