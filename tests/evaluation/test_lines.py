"""Simple lines: what is chosen for them, and what they answer, respects the time of labels."""

import tempfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.errors import UserError
from raclib.evaluation import refit
from raclib.evaluation.choice import Choice
from raclib.evaluation.fits import RayFits
from raclib.evaluation.lines import (
    BOOSTED,
    BOOSTED_RECENT,
    FOREST,
    NEIGHBOURS,
    NO_CONTEXT,
    RECENT,
    REFIT,
    REFIT_RECENT,
    Lines,
    distinct,
    make_lines,
    new_base,
)
from raclib.ingest.base_scores import FeatureReader
from raclib.models.base import BaseConfig, fit_base, linear
from raclib.models.base.refit import LabelledRows
from raclib.tasks.table.config import TableEvaluateConfig

NUM, CUTOFF, END, TICK = 500, 600, 1000, 25
FIELDS = {
    "time": Field("int64"),
    "event_time": Field("int64"),
    "label": Field("int16"),
    "numbers": Field("float16", (2,)),
    "key": Field("float16", (2,)),
}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """How well it is fitted matters little here; threads of small products spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "INVERSE_PENALTIES", (1.0,))
        patch.setattr(linear, "MAX_STEPS", 3)
        yield
    torch.set_num_threads(before)


class FitsHere(RayFits):
    """Fits in this process."""

    def __call__(self, parts):
        data = self.data
        return [
            fit_base(self.config, data.read(p), data.label[p], data.num_classes, 0) for p in parts
        ]


def make_rows(seed: int, max_delay: int, tick: int = 1) -> dict[str, np.ndarray]:
    """A rule that turns with time; labels that come at once, late or never; ties of times."""
    rng = np.random.default_rng(seed)
    event = rng.integers(0, END // tick, NUM) * tick
    known = event + rng.integers(0, max_delay // tick + 1, NUM) * tick
    order = np.argsort(known, kind="stable")
    event, known = event[order], known[order]
    numbers = rng.normal(size=(NUM, 2)).astype(np.float16)
    turned = numbers[:, 0] * np.cos(event / 200) + numbers[:, 1] * np.sin(event / 200)
    label = np.where(rng.random(NUM) < 0.05, -1, turned > 0).astype(np.int16)
    arrays = {"time": known, "event_time": event, "label": label}
    return {**arrays, "numbers": numbers, "key": numbers}


class Task(SimpleNamespace):
    """What is asked of a task."""

    num_classes, cutoff = 2, CUTOFF

    @property
    def num_before(self):
        return self.corpus.num_before(CUTOFF)

    def read_labels(self):
        return self.label

    def read_event_times(self):
        return self.corpus.read("event_time")


def make_task(arrays: dict[str, np.ndarray], folder: str, **evaluate) -> Task:
    """The task of rows, its test examples all that have a label."""
    uri = tempfile.mkdtemp(dir=folder)
    with CorpusWriter(uri, FIELDS, rows_per_shard=150) as writer:
        writer.write(arrays)
    sizes = {
        "num_recent_labels": [10, 40],
        "num_neighbours": [1, 5, 20],
        "neighbour_windows": [40, 160, 640],
        "num_recent_rows": [60, 200],
        "num_refits": 4,
    }
    config = SimpleNamespace(
        evaluate=TableEvaluateConfig(**{**sizes, **evaluate}), storage_path=str(folder)
    )
    label = arrays["label"].astype(np.int16)
    splits = SimpleNamespace(test=np.arange(NUM))
    return Task(config=config, corpus=open_corpus(uri), splits=splits, label=label)


def lines_of(task: Task) -> Lines:
    base = new_base(task, FeatureReader(task.corpus, ()))
    no_context = np.exp(base.first.log_probs(base.read, task.splits.test))
    return make_lines(task, base, no_context)


@settings(max_examples=6, deadline=None, phases=[Phase.generate])
@given(
    seed=st.integers(0, 10**6),
    max_delay=st.sampled_from([0, 30, 150]),
    now=st.integers(CUTOFF // TICK, END // TICK - 1).map(lambda tick: tick * TICK),
)
def test_labels_that_were_not_known_change_no_choice_and_no_answer(seed, max_delay, now):
    arrays = make_rows(seed, max_delay, TICK)
    hidden = (arrays["time"] >= now) & (arrays["label"] >= 0)
    garbled = {**arrays, "label": np.where(hidden, 1 - arrays["label"], arrays["label"])}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(refit, "RayFits", FitsHere)
        found, after = (lines_of(make_task(part, folder)) for part in (arrays, garbled))
    assert found.chosen == after.chosen
    assert list(found.probabilities) == [RECENT, NEIGHBOURS, NO_CONTEXT, REFIT, REFIT_RECENT]
    earlier = arrays["event_time"] <= now
    for name, answer in found.probabilities.items():
        assert answer.shape == (NUM, 2)
        assert np.allclose(answer.sum(axis=1), 1, atol=1e-5)
        assert np.array_equal(answer[earlier], after.probabilities[name][earlier]), name


def test_what_is_chosen_is_best_before_the_cutoff(tmp_path, monkeypatch):
    """Labels that hold for a while, then turn: few recent ones say most, on any line."""
    monkeypatch.setattr(refit, "RayFits", FitsHere)
    arrays = make_rows(0, 0)
    turn = arrays["event_time"] // 100 % 2
    sure = {**arrays, "label": turn.astype(np.int16)}
    assert lines_of(make_task(sure, tmp_path)).chosen["recent_labels"] == 10
    coin = {**arrays, "label": (np.arange(NUM) % 2).astype(np.int16)}
    chosen = lines_of(make_task(coin, tmp_path)).chosen
    assert (chosen["neighbours"], chosen["recent_rows"]) == (20, 200)
    still = {**arrays, "label": (arrays["numbers"][:, 0] > 0).astype(np.int16)}
    turned = {**arrays, "label": np.where(turn, still["label"], 1 - still["label"])}
    assert lines_of(make_task(still, tmp_path)).chosen["recent_rows"] == 200
    assert lines_of(make_task(turned, tmp_path)).chosen["neighbour_window"] == 40


def test_rivals_are_more_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(refit, "RayFits", FitsHere)
    task = make_task(make_rows(0, 30), tmp_path, rivals=["adaptive_forest", "boosted_trees"])
    found = lines_of(task).probabilities
    assert list(found)[5:] == [FOREST, BOOSTED, BOOSTED_RECENT]
    assert all(np.allclose(answer.sum(axis=1), 1, atol=1e-5) for answer in found.values())


def test_choice_rows_happened_after_the_inner_cutoff_and_were_known():
    arrays = make_rows(1, 100)
    label, time, event = (arrays[name] for name in ("label", "time", "event_time"))
    data = LabelledRows(None, label, time, event, 2)
    choice = Choice.before(data, CUTOFF)
    known = np.flatnonzero((time < CUTOFF) & (label >= 0))
    assert choice.start == time[known[int(0.6 * len(known))]]
    expected = known[event[known] >= choice.start]
    assert np.array_equal(np.sort(choice.rows), expected)
    assert (np.diff(event[choice.rows]) >= 0).all()
    late = replace(data, event=np.where(event < CUTOFF, 0, event))
    nothing = Choice.before(late, CUTOFF)
    assert not len(nothing.rows)
    assert nothing.best(data, {"a": np.empty((0, 2)), "b": np.empty((0, 2))}) == "a"


def test_windows_that_hold_everything_are_searched_once():
    assert distinct([64, 4, 16], 10) == [4, 16]
    assert distinct([64, 4, 16], 4) == [4]
    assert distinct([64, 4, 16, 4], 1000) == [4, 16, 64]


@pytest.fixture
def fits(ray_cluster, tmp_path):
    """Fits on rows of a corpus, kept in a folder `fits`."""
    arrays = make_rows(0, 0)
    with CorpusWriter(str(tmp_path / "c"), FIELDS, rows_per_shard=150) as writer:
        writer.write(arrays)
    read = FeatureReader(open_corpus(str(tmp_path / "c")), ())
    label = arrays["label"].astype(np.int64).clip(0)
    data = LabelledRows(read, label, arrays["time"], arrays["event_time"], 2)
    return RayFits(BaseConfig(), data, str(tmp_path / "fits"))


def test_fits_are_done_once_and_by_what_they_saw(fits, tmp_path):
    data = fits.data
    parts = [np.arange(50), np.arange(20, 90)]
    rows = data.read(np.arange(NUM))
    found = [base.log_probs(rows) for base in fits(parts)]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "fits").iterdir()}
    assert len(files) == 2
    again = [base.log_probs(rows) for base in fits(parts[::-1])]
    assert np.array_equal(found, again[::-1])
    assert not np.array_equal(found[0], found[1])
    assert {path: path.stat().st_mtime_ns for path in files} == files
    turned = replace(fits, data=replace(data, label=1 - data.label))(parts)
    assert np.allclose(turned[0].log_probs(rows), found[0][:, ::-1], atol=1e-3)
    assert len(list((tmp_path / "fits").iterdir())) == 4


def test_a_mistake_of_a_fit_is_the_users_error(fits, tmp_path):
    fits([np.arange(50)])
    (file,) = (tmp_path / "fits").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"\.npz: damaged"):
        fits([np.arange(50)])


def test_the_choice_takes_no_room_for_rows(bytes_per_row):
    def choose(num_rows):
        label, time = (np.arange(num_rows) % 3 - 1).astype(np.int16), np.arange(num_rows)
        data = LabelledRows(None, label, time, time, 2)
        return lambda: Choice.before(data, num_rows // 2)

    assert bytes_per_row(choose) < 3
