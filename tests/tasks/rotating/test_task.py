"""The rotating task's data as the paper describes it."""

import numpy as np
import pytest
import torch

from raclib.run.config import EvaluateConfig, RetrievalConfig
from raclib.tasks.generated import StepTrainConfig
from raclib.tasks.rotating.config import RotatingConfig
from raclib.tasks.rotating.task import RotatingTask, turn

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task():
    return RotatingTask(
        RotatingConfig(
            history_size=32,
            test_examples=4000,
            retrieval=RetrievalConfig(num_draws=16),
            train=StepTrainConfig(batch_size=64, num_steps=4),
            evaluate=EvaluateConfig(batch_size=4000),
        )
    )


@pytest.fixture(scope="module")
def test_batch(task):
    return task.load("test", np.arange(4000), CPU)


def test_the_axis_turns_by_half_a_circle():
    angles = turn(torch.tensor([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(angles, [np.pi, np.pi / 2, 0], atol=1e-6)


def test_centres_lie_on_a_circle_of_half_the_separation(task):
    centre = task.centre(torch.linspace(0, 1, 11))
    np.testing.assert_allclose(centre.norm(dim=-1), 2.0, rtol=1e-5)
    torch.testing.assert_close(centre[0], -centre[-1])
    assert abs(centre[5] @ centre[0]) < 1e-5


def test_the_best_rule_is_right_97_7_percent_of_the_time(task, test_batch):
    x_BD = test_batch["x"][:, : task.config.dim]
    side_B = (x_BD * task.centre(test_batch["time"])).sum(-1) > 0
    assert (side_B == test_batch["label"]).float().mean() == pytest.approx(0.977, abs=0.01)


def test_histories_are_earlier_and_labelled_by_the_rule_of_their_time(task, test_batch):
    assert (test_batch["times"] < test_batch["time"][:, None]).all()
    centre_BKD = task.centre(test_batch["times"])
    side_BK = (test_batch["keys"][..., : task.config.dim] * centre_BKD).sum(-1) > 0
    right = side_BK == (test_batch["sign"][..., 0] > 0)
    assert right.float().mean() == pytest.approx(0.977, abs=0.005)
    share = test_batch["times"] / test_batch["time"][:, None]
    assert share.mean() == pytest.approx(0.5, abs=0.01)


def test_training_stops_where_told_and_the_test_covers_all_time_in_order(task, test_batch):
    for batch in task.stream(0, 0, 1, CPU):
        assert batch["time"].max() < 0.5
    assert task.load("validation", np.arange(50), CPU)["time"].max() < 0.5
    time = test_batch["time"]
    assert (time.diff() > -1 / 4000).all() and time[0] < 0.001 and time[-1] > 0.999


def test_time_is_embedded_beside_the_input(task, test_batch):
    embedded = test_batch["x"][:, task.config.dim :]
    assert embedded.shape[1] == 2 * task.config.time_frequencies + 1
    torch.testing.assert_close(embedded[:, 0], test_batch["time"])
    angle = torch.pi * test_batch["time"]
    torch.testing.assert_close(embedded[:, 1], angle.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded[:, 8], (8 * angle).sin(), atol=1e-5, rtol=0)


def test_without_a_history_none_is_made(task):
    batch = RotatingTask(task.config, with_history=False).load("validation", np.arange(8), CPU)
    assert batch["keys"].shape[1] == 0 and batch["x"].shape[0] == 8
