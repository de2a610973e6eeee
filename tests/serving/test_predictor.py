"""A model in service says which rows decided, and sees rows that are appended."""

from dataclasses import replace

import numpy as np
import pytest

from raclib.corpus import open_corpus
from raclib.corpus.compact import compact
from raclib.errors import UserError
from raclib.ingest.append import append_rows
from raclib.retrieval.keys import KeySet
from raclib.serving import memory as memory_module
from raclib.serving.arrow import to_arrow
from raclib.serving.rekey import Changes, rekey_corpus
from raclib.serving.table_predictor import TablePredictor

ALL = 200
"""More rows than are read for one."""


@pytest.fixture
def predictor(classifier):
    return classifier._predictor


@pytest.fixture
def rows(make_table):
    """Rows that happened after all others, under the turned rule."""
    return to_arrow(make_table(6000, 60, seed=8, turned=True))


def append(predictor, table) -> None:
    append_rows(open_corpus(predictor.corpus.uri), to_arrow(table))


def reopened(predictor) -> TablePredictor:
    return TablePredictor(predictor.config, predictor.weights)


def assert_same(found, expected) -> None:
    assert found.version == expected.version
    np.testing.assert_array_equal(found.rows_NE, expected.rows_NE)
    for name in ("probabilities_NC", "base_NC", "weights_NE"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_evidence_is_what_the_answer_is_copied_from(predictor, rows):
    found = predictor.explain(rows, ALL)
    np.testing.assert_array_equal(found.probabilities_NC, predictor(rows))
    what, is_row_NE = predictor.describe(found.rows_NE), found.rows_NE >= 0
    assert is_row_NE.sum(axis=1).min() > 100
    assert (np.diff(found.weights_NE) <= 0).all() and (found.weights_NE >= 0).all()
    assert (found.weights_NE[~is_row_NE] == 0).all() and (what.label[~is_row_NE] == -1).all()
    for ids in found.rows_NE:
        assert len(np.unique(ids[ids >= 0])) == (ids >= 0).sum(), "a row is there once"
    copied_NC = np.stack(
        [(found.weights_NE * (what.label == c)).sum(axis=1) for c in range(2)], axis=1
    )
    assert copied_NC.sum() > 1, "the reader has its say"
    assert (copied_NC <= found.probabilities_NC + 1e-6).all()
    ids = found.rows_NE[0, :5]
    np.testing.assert_array_equal(what.known_time[0, :5], predictor.corpus.read("time")[ids])
    np.testing.assert_array_equal(what.event_time[0, :5], predictor.corpus.read("event_time")[ids])
    few = predictor.explain(rows, 3)
    np.testing.assert_array_equal(few.rows_NE, found.rows_NE[:, :3])


def test_what_is_left_of_an_answer_is_the_bases_and_smoothing(predictor, rows):
    """Of the reader's part; the record gives the base a part of its own."""
    found = predictor.explain(rows, ALL)
    label = predictor.describe(found.rows_NE).label
    copied_N1 = (found.weights_NE * (label == 1)).sum(axis=1)
    rest_N1 = found.probabilities_NC[:, 1] - copied_N1
    rest_N = 1 - found.weights_NE.sum(axis=1)
    # A mixture of the base's own answer and of the reader's own copy of it, on one side of 1/2.
    same_side = (rest_N1 / rest_N > 0.5) == (found.base_NC[:, 1] > 0.5)
    assert same_side[np.abs(found.base_NC[:, 1] - 0.5) > 0.05].all()


def test_no_row_and_no_evidence(predictor, rows):
    found = predictor.explain(rows.slice(0, 0), 3)
    assert found.probabilities_NC.shape == found.base_NC.shape == (0, 2)
    assert found.rows_NE.shape == found.weights_NE.shape == (0, 3)
    assert predictor.explain(rows, 0).rows_NE.shape == (60, 0)


@pytest.mark.parametrize("room", [100, 100_000])
def test_new_rows_are_taken_in_as_if_opened_anew(predictor, rows, make_table, monkeypatch, room):
    monkeypatch.setattr(memory_module, "MIN_ROOM", room)
    start = reopened(predictor)
    before, earlier = start.explain(rows, 5), start._memory
    with monkeypatch.context() as patch:
        patch.setattr(KeySet, "load", None)  # nothing is read again
        for first, num_rows in ((3030, 7), (3040, 1), (3050, 900), (4000, 700)):
            append(start, make_table(first, num_rows, seed=first, turned=True))
            assert start.refresh()
        assert not start.refresh()
    held = [memory.history.keys.keys.data_ptr() for memory in (earlier, start._memory)]
    assert (held[0] == held[1]) == (room > 10_000), "moved only where there was no room"
    after, fresh = start.explain(rows, 5), reopened(predictor)
    assert_same(after, fresh.explain(rows, 5))
    np.testing.assert_array_equal(start._memory.recent, fresh._memory.recent)
    records = [each._memory.record for each in (start, fresh)]
    np.testing.assert_array_equal(*(record.known_N for record in records))
    np.testing.assert_allclose(*(record.log_prob_NA for record in records), atol=1e-5)
    assert np.abs(after.probabilities_NC - before.probabilities_NC).max() > 0.3
    # Of times when the record was another.
    assert_same(
        *(
            each.explain(to_arrow(make_table(3000, 50, seed=1)), 5)
            for each in (start, reopened(predictor))
        )
    )
    start._memory = earlier
    assert_same(start.explain(rows, 5), before)


def test_versions_of_other_shards_or_keys_are_opened_anew(predictor, rows, make_table):
    for first in (3030, 3040):
        append(predictor, make_table(first, 5, seed=first))
    predictor.refresh()
    before = predictor.explain(rows, 5)
    compact(open_corpus(predictor.corpus.uri), 10**6)
    assert predictor.refresh()
    after = predictor.explain(rows, 5)
    assert_same(after, before._replace(version=before.version + 1))
    rekey_corpus(open_corpus(predictor.corpus.uri), Changes(base_weight=0.7))
    assert predictor.refresh()
    assert_same(predictor.explain(rows, 5), reopened(predictor).explain(rows, 5))
    answers, version = predictor(rows), predictor.corpus.version
    rekey_corpus(open_corpus(predictor.corpus.uri), Changes(dim=3))
    with pytest.raises(UserError, match="are not as wide as those the model was trained on"):
        predictor.refresh()
    assert predictor.corpus.version == version
    np.testing.assert_array_equal(predictor(rows), answers)


def test_rows_that_are_left_out_are_evidence_no_more(predictor, rows, make_table):
    first = len(predictor.corpus)
    append(predictor, make_table(3030, 300, seed=2))
    append(predictor, make_table(3400, 300, seed=3, turned=True))
    predictor.refresh()
    misled = predictor.explain(rows, ALL)
    wrong = np.arange(first + 300, first + 600)
    assert np.isin(misled.rows_NE, wrong).any()
    predictor.leave_out(wrong[::-1])
    found = predictor.explain(rows, ALL)
    assert not np.isin(found.rows_NE, wrong).any()
    assert (found.rows_NE >= 0).sum(axis=1).min() > 100, "others took their places"
    assert np.isin(np.arange(first + 290, first + 300), found.rows_NE).all(), "the newest of them"
    other = reopened(predictor)
    other.leave_out(wrong)
    assert_same(found, other.explain(rows, ALL))
    # It outlasts rows that are appended, and versions of other shards.
    append(predictor, make_table(3750, 10, seed=5))
    predictor.refresh()
    other = reopened(predictor)
    other.leave_out(wrong)
    assert_same(predictor.explain(rows, ALL), other.explain(rows, ALL))
    compact(open_corpus(predictor.corpus.uri), 10**6)
    predictor.refresh()
    assert not np.isin(predictor.explain(rows, ALL).rows_NE, wrong).any()
    with pytest.raises(UserError, match=r"row_ids: 99999 is out of range"):
        predictor.leave_out(np.array([99_999]))


def test_without_retrieval_there_is_no_evidence(predictor, rows):
    config = replace(predictor.config, reader="perceiver")
    plain = TablePredictor.__new__(TablePredictor)
    plain.config = config
    model = plain.read_rows(predictor.corpus, None).build_model(False)
    found = TablePredictor(config, model.state_dict()).explain(rows, 2)
    assert found.base_NC is None
    assert (found.rows_NE == -1).all() and (found.weights_NE == 0).all()
    np.testing.assert_allclose(found.probabilities_NC.sum(axis=1), 1, atol=1e-5)


def test_a_perceiver_tells_its_attention(predictor, rows, make_table):
    config = replace(predictor.config, reader="perceiver")
    model = predictor.read_rows(predictor.corpus, None)
    weights = replace(model, config=config).build_model(True).state_dict()
    attentive = TablePredictor(config, weights)
    found = attentive.explain(rows, ALL)
    total_N = found.weights_NE.sum(axis=1)
    assert ((total_N > 0.1) & (total_N < 1)).all(), "the input gets some"
    append(predictor, make_table(3030, 20, seed=3))
    attentive.refresh()
    assert not np.allclose(attentive(rows), found.probabilities_NC)
    again = TablePredictor(config, weights).explain(rows, 5)
    np.testing.assert_array_equal(attentive.explain(rows, 5).rows_NE, again.rows_NE)
    attentive.leave_out(found.rows_NE[0, :1])
    assert found.rows_NE[0, 0] not in attentive.explain(rows, ALL).rows_NE
