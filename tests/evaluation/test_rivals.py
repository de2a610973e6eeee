"""Classifiers of other libraries see no label before it was known."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from raclib.errors import UserError
from raclib.evaluation import rivals
from raclib.evaluation import tabr as tabr_module
from raclib.evaluation.choice import Choice
from raclib.evaluation.rivals import adaptive_forest
from raclib.evaluation.tabr import tabr
from raclib.metrics import score
from raclib.models.base import Features
from raclib.models.base.refit import LabelledRows

NUM, CUTOFF = 1200, 600


@pytest.fixture(scope="module")
def data() -> LabelledRows:
    """A rule that turns round at the cutoff; labels that come late, or never."""
    rng = np.random.default_rng(0)
    event = np.sort(rng.integers(0, NUM, NUM))
    known = event + rng.integers(0, 60, NUM)
    order = np.argsort(known, kind="stable")
    event, known = event[order], known[order]
    codes = rng.integers(1, 3, (NUM, 1)).astype(np.int32)
    label = (codes[:, 0] == 1).astype(np.int64) ^ (event >= CUTOFF)
    label[rng.random(NUM) < 0.1] = -1
    rows = Features(rng.normal(size=(NUM, 2)).astype(np.float32), codes, (3,))
    return LabelledRows(rows.take, label, known, event, 2)


def test_it_follows_a_change_and_sees_no_label_before_it_was_known(data):
    rows = np.random.default_rng(1).permutation(np.flatnonzero(data.label >= 0))
    choice = Choice.before(data, CUTOFF)
    found = adaptive_forest(data, choice, rows)
    assert np.allclose(found.sum(axis=1), 1)
    late = data.event[rows] > CUTOFF + 400
    assert score(data.label[rows][late], found[late])["accuracy"] > 0.9
    now = 800
    hidden = (data.known >= now) & (data.label >= 0)
    garbled = replace(data, label=np.where(hidden, 1 - data.label, data.label))
    again = adaptive_forest(garbled, choice, rows)
    earlier = data.event[rows] <= now
    assert np.array_equal(found[earlier], again[earlier])
    assert not np.array_equal(found, again)


def test_a_table_that_is_too_large_is_left_out(data, monkeypatch, capsys):
    monkeypatch.setattr(rivals, "MAX_NUMBERS", 3 * NUM - 1)
    assert adaptive_forest(data, Choice.before(data, CUTOFF), np.arange(5)) is None
    assert "left out, 1,200 rows" in capsys.readouterr().out


def test_without_river_it_is_one_line(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "river.forest", None)
    with pytest.raises(UserError, match=r"pip install raclib\[river\]"):
        adaptive_forest(data, Choice.before(data, CUTOFF), np.arange(5))


@pytest.mark.slow
def test_tabr_learns_what_was_known_before_the_cutoff_and_no_more(data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tabr_module, "MAX_EPOCHS", 4)
    data = replace(data, label=np.where(data.label < 0, -1, data.label + 1), num_classes=4)
    choice = Choice.before(data, CUTOFF)
    rows = np.flatnonzero((data.label >= 0) & (np.arange(NUM) % 3 == 0))
    found = tabr(data, choice, rows)
    assert found.shape == (len(rows), 4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found[:, [0, 3]] == 0).all()
    late = data.event[rows] >= CUTOFF
    assert score(data.label[rows][~late], found[~late])["accuracy"] > 0.9
    assert score(data.label[rows][late], found[late])["accuracy"] < 0.1
    asked = np.isin(np.arange(NUM), rows)
    hidden = (asked | (data.known >= CUTOFF)) & (data.label >= 0)
    garbled = replace(data, label=np.where(hidden, 3 - data.label, data.label))
    np.testing.assert_array_equal(tabr(garbled, choice, rows), found)
    assert not list(tmp_path.iterdir())


def test_tabr_leaves_embeddings_out(data, capsys):
    rows = Features(np.zeros((NUM, 0)), np.zeros((NUM, 0)), (), np.ones((NUM, 3), np.float16))
    wide = replace(data, read=rows.take)
    assert tabr(wide, Choice.before(data, CUTOFF), np.arange(5)) is None
    assert "an embedding has many columns" in capsys.readouterr().out


def test_without_pytabkit_it_is_one_line(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "skorch", None)
    with pytest.raises(UserError, match=r"pip install raclib\[tabr\]"):
        tabr(data, Choice.before(data, CUTOFF), np.arange(5))
