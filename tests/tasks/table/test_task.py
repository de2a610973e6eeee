"""A table as training sees it: shapes of its model, sizes of its splits, its labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from raclib.errors import UserError
from raclib.models.base import BaseConfig
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.config import (
    TableConfig,
    TableDrawConfig,
    TableFitConfig,
    TableKeyConfig,
)
from raclib.tasks.table.labels import StoredLabel
from raclib.tasks.table.recipe import About, prepare_table
from raclib.training.predict import classify_greedy

CPU = torch.device("cpu")
NUM = 400
DRAW = TableDrawConfig(num_draws=2, nearest=[], strata=[], newest=0)


def write(folder, labels, **columns) -> TableConfig:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=NUM), "label": labels})
    frame = frame.assign(**(columns or {"x": rng.normal(size=NUM)}))
    frame.to_parquet(folder / "table.parquet")
    return TableConfig(
        name="task",
        storage_path=str(folder),
        data=str(folder / "table.parquet"),
        base=BaseConfig("perceiver"),
        reader="perceiver",
        train=TableFitConfig(batch_size=8, changed_share=0.0),
        retrieval=DRAW,
    )


def late_class(num_classes: int) -> np.ndarray:
    """Classes `c0`, `c1`, ... of which the last first comes after the cutoff."""
    number = np.arange(NUM) % (num_classes - 1)
    number[-50::3] = num_classes - 1
    return np.array([f"c{value:02}" for value in number])


LOOK = TableDrawConfig(nearest=[4, 4], strata=[50, 200], newest=2)
COPY = {"reader": "copy", "base": BaseConfig("linear", num_folds=2), "retrieval": LOOK}
FULL = {**COPY, "retrieval": replace(LOOK, retrieve="row")}


@pytest.fixture(scope="module", params=[{}, COPY, FULL], ids=["draws", "copies", "full"])
def forty(request, without_ray, make_task, tmp_path_factory):
    config = write(tmp_path_factory.mktemp("forty"), late_class(40))
    config = replace(config, key=TableKeyConfig(base_weight=0.0), **request.param)
    with without_ray():
        corpus, base = prepare_base(config, prepare_table(config))
        return corpus, make_task(config, corpus, base)


def test_a_class_that_comes_after_the_cutoff_stays(forty):
    corpus, task = forty
    about = About.of(corpus)
    assert about.classes[39] == "c39"
    assert corpus.provenance["table"]["new_classes"] == ["c39"]
    label = task.read_labels()
    assert (label == 39).sum() == 17
    assert not (label[corpus.read("time") < about.cutoff] == 39).any()
    assert (label[task.splits.test] == 39).any(), "it is tested"


@pytest.mark.parametrize("with_context", [True, False])
def test_every_class_is_a_column_of_the_probabilities(forty, with_context):
    corpus, task = forty
    torch.manual_seed(0)
    model = task.build_model(with_context).eval()
    rows = task.splits.test[:20]
    history = task.history("test", CPU) if with_context else None
    batch = task.load("test", rows, CPU)
    logits = classify_greedy(model, history, batch, task.config.retrieval)
    assert logits.shape == (20, 40)
    assert logits.isfinite().all()
    np.testing.assert_array_equal(batch["label"], corpus.read("label")[rows])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.arange(NUM) % 2 == 0, ("false", "true")),
        (np.arange(NUM) % 3 * 7 - 1, ("-1", "6", "13")),
        (np.where(np.arange(NUM) % 2, "yes", "no"), ("no", "yes")),
        (np.where(np.arange(NUM) % 5, np.arange(NUM) % 2, np.nan), ("0", "1")),
    ],
    ids=["bool", "integers", "strings", "missing"],
)
def test_labels_of_every_kind(labels, names, without_ray, make_task, tmp_path):
    config = write(tmp_path, labels)
    with without_ray():
        corpus = prepare_table(config)
        task = make_task(config, corpus)
    assert About.of(corpus).classes == names
    assert task.num_classes == len(names)
    there = ~pd.isna(labels)
    assert len(corpus) == there.sum()
    assert About.of(corpus).num_unlabelled == (~there).sum()


def test_ids_alone_are_enough(without_ray, make_task, tmp_path):
    ids = np.random.default_rng(0).integers(0, 20, NUM)
    config = write(tmp_path, np.arange(NUM) % 2, user_id=ids)
    config = replace(config, retrieval=replace(DRAW, retrieve="row"))
    with without_ray():
        corpus = prepare_table(config)
        task = make_task(config, corpus)
    assert set(corpus.fields) == {"entities", "label", "event_time", "time", "key"}
    model, batch = task.build_model(True).eval(), task.load("test", task.splits.test[:9], CPU)
    history = task.history("test", CPU)
    assert classify_greedy(model, history, batch, config.retrieval).isfinite().all()


def test_a_batch_above_the_examples_is_one_line(without_ray, make_task, tmp_path):
    config = write(tmp_path, np.arange(NUM) % 2)
    config = replace(config, train=TableFitConfig(batch_size=97, changed_share=0.0))
    with without_ray():
        corpus = prepare_table(config)
        message = r"train\.batch_size: 97 is above split\.train_examples \(96\); make it smaller"
        with pytest.raises(UserError, match=message):
            make_task(config, corpus)


def test_a_stored_label_is_the_field():
    found = StoredLabel()({"label": np.array([1, -1], np.int16)})
    assert found.dtype == np.int64
    assert found.tolist() == [1, -1]
