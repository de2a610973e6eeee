"""Examples that a program makes: the same for every split of the work, never the same twice."""

from itertools import islice

import numpy as np
import pytest
import torch

from raclib.errors import UserError
from raclib.models.mlp import MLPConfig
from raclib.run.config import EvaluateConfig, RetrievalConfig
from raclib.tasks.generated import StepTrainConfig
from raclib.tasks.needle.config import NeedleConfig
from raclib.tasks.needle.task import NeedleTask
from raclib.tasks.rotating.config import RotatingConfig
from raclib.tasks.rotating.task import RotatingTask
from raclib.training.task import parts

CPU = torch.device("cpu")
COMMON = {
    "history_size": 6,
    "validation_examples": 10,
    "test_examples": 22,
    "retrieval": RetrievalConfig(num_draws=2),
    "train": StepTrainConfig(batch_size=8, num_steps=5),
    "evaluate": EvaluateConfig(batch_size=8),
}
ROTATING = {"dim": 5, "num_bins": 2, "num_recent": 4}
TASKS = {
    "needle": lambda **changes: NeedleTask(NeedleConfig(**{**COMMON, **changes})),
    "rotating": lambda **changes: RotatingTask(RotatingConfig(**{**ROTATING, **COMMON, **changes})),
}


@pytest.fixture(params=TASKS)
def make_task(request):
    return TASKS[request.param]


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def test_workers_share_what_one_worker_gets(make_task):
    task = make_task()
    whole = list(task.stream(0, 0, 1, CPU))
    assert len(whole) == 5
    halves = zip(task.stream(0, 0, 2, CPU), task.stream(0, 1, 2, CPU), strict=True)
    for batch, pair in zip(whole, halves, strict=True):
        joined = {name: torch.cat([half[name] for half in pair]) for name in batch}
        assert_equal(joined, batch)


def test_a_resumed_stream_goes_on_with_the_same_batches(make_task):
    task = make_task()
    for found, expected in zip(
        task.stream(3, 0, 1, CPU), islice(task.stream(0, 0, 1, CPU), 3, None), strict=True
    ):
        assert_equal(found, expected)


def test_steps_splits_and_seeds_differ(make_task):
    task = make_task()
    first, second = islice(task.stream(0, 0, 1, CPU), 2)
    other = next(make_task(seed=1).stream(0, 0, 1, CPU))
    validation = task.load("validation", np.arange(8), CPU)
    inputs = [batch["x"] for batch in (first, second, other, validation)]
    for number, values in enumerate(inputs):
        assert not any(torch.isin(values, rest).all() for rest in inputs[number + 1 :])


def test_the_parts_of_a_split_are_made_alike_again(make_task):
    task = make_task()
    rows = parts(task, "test")
    assert [len(part) for part in rows] == [8, 8, 6]
    assert_equal(task.load("test", rows[1], CPU), make_task().load("test", rows[1], CPU))


def test_fetched_rows_are_those_drawn(make_task):
    task = make_task()
    batch = task.load("validation", np.arange(8), CPU)
    history = task.history("train", CPU)
    keys_BKd, lo_B, hi_B = history.select(batch)
    assert keys_BKd.shape[:2] == (8, 6)
    assert (lo_B == 0).all() and (hi_B == 6).all()
    rows_MBS = torch.randint(6, (3, 8, 2))
    item = history.fetch(batch, rows_MBS)["item"]
    fields = [batch[name] for name in task.item_fields]
    for m, b, s in np.ndindex(3, 8, 2):
        expected = torch.cat([values[b, rows_MBS[m, b, s]].float() for values in fields])
        assert torch.equal(item[m, b, s], expected)
    assert item.shape[-1] == task.item_dim


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (RotatingConfig, {"test_examples": 49}, "test_examples: 49 is below num_bins 50"),
        (RotatingConfig, {"num_recent": 999}, "num_recent: 999 is above history_size"),
        (RotatingConfig, {"dim": 1}, "dim: 1 has no direction"),
        (NeedleConfig, {"history_sizes": []}, "history_sizes: an empty list"),
        (NeedleConfig, {"first_history_size": 1}, "first_history_size: 1 is below"),
        (NeedleConfig, {"model": MLPConfig(reader="products")}, r"model\.reader: products"),
    ],
)
def test_sizes_that_cannot_be_are_refused(config, changes, message):
    settings = {**COMMON, "test_examples": 100, "history_size": 20}
    with pytest.raises(UserError, match=f"^{message}"):
        config(**{**settings, **changes})


def test_too_small_a_history_is_refused():
    with pytest.raises(UserError, match=r"history_size: 6 is below retrieval\.num_draws 7"):
        RotatingConfig(**{**COMMON, "retrieval": RetrievalConfig(num_draws=7)})
    with pytest.raises(UserError, match="history_sizes: 4 is below"):
        retrieval = RetrievalConfig(num_draws=5)
        NeedleConfig(**{**COMMON, "retrieval": retrieval}, history_sizes=[4, 8])
