"""The needle's data as the paper describes it, and its curves against direct computation."""

import numpy as np
import pytest
import torch

from raclib.run.config import EvaluateConfig, RetrievalConfig
from raclib.tasks.generated import StepTrainConfig
from raclib.tasks.needle.config import NeedleConfig
from raclib.tasks.needle.task import NeedleTask

CPU = torch.device("cpu")


def make_task(**changes):
    retrieval = RetrievalConfig(num_draws=1, residual_to_similarity=False)
    train = StepTrainConfig(batch_size=4, num_steps=100)
    evaluate = EvaluateConfig(batch_size=1000)
    values = {"history_size": 12, "retrieval": retrieval, "train": train, "evaluate": evaluate}
    return NeedleTask(NeedleConfig(**{**values, **changes}))


@pytest.fixture(scope="module")
def batch():
    return make_task().load("validation", np.arange(1000), CPU)


def test_the_label_is_the_first_bit_of_the_right_row_and_every_other_bit_is_a_coin(batch):
    example_B = torch.arange(1000)
    bits_BKF, target_B = batch["bits"], batch["target"]
    assert torch.equal(bits_BKF[example_B, target_B, 0].long(), batch["label"])
    assert set(bits_BKF.unique().tolist()) == {0, 1}
    assert abs(batch["label"].float().mean() - 0.5) < 0.06
    assert bits_BKF.float().mean(dim=(0, 1)).sub(0.5).abs().max() < 0.02
    assert target_B.bincount(minlength=12).min() > 40


def test_inputs_tell_the_key_of_the_right_row(batch):
    task = make_task()
    keys_Bd = batch["keys"][torch.arange(1000), batch["target"]]
    noise_BD = batch["x"] - keys_Bd @ task.map_Dd.T
    assert noise_BD.std().item() == pytest.approx(0.1**0.5, rel=0.02)
    assert task.map_Dd.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert batch["keys"].std().item() == pytest.approx(1, rel=0.01)


def test_the_matrix_is_fixed_by_the_seed():
    assert torch.equal(make_task().map_Dd, make_task().map_Dd)
    assert not torch.equal(make_task().map_Dd, make_task(seed=1).map_Dd)


def test_histories_grow_in_training_only():
    task = make_task(history_size=64, first_history_size=4, growth_fraction=0.5)
    sizes = [batch["keys"].shape[1] for batch in task.stream(0, 0, 1, CPU)]
    assert sizes[0] == 4 and sizes[25] == 16 and sizes[50] == sizes[-1] == 64
    assert sizes == sorted(sizes)
    assert task.load("validation", np.arange(4), CPU)["keys"].shape[1] == 64


@pytest.mark.parametrize("scale_logits", [True, False])
def test_selection_curves_are_those_of_the_softmax(scale_logits):
    task = make_task()
    task.config.retrieval.scale_logits = scale_logits
    torch.manual_seed(0)
    model = task.build_model(True)
    found = task.diagnostics(model, 0.1, CPU)
    batch = task.load("validation", np.arange(1000), CPU)
    logits_BK = torch.einsum("bd,bkd->bk", model.queries(batch)[:, 0], batch["keys"]) / 0.1
    log_prob_BK = (logits_BK / (8 if scale_logits else 1)).log_softmax(-1)
    target_B1 = batch["target"][:, None]
    cross_entropy = -log_prob_BK.gather(1, target_B1).mean().item()
    entropy = torch.special.entr(log_prob_BK.exp()).sum(-1).mean().item()
    greedy = (log_prob_BK.argmax(-1) == batch["target"]).float().mean().item()
    chance = log_prob_BK.exp().gather(1, target_B1).mean().item()
    assert found["selection/cross_entropy"] == pytest.approx(cross_entropy, rel=1e-4)
    assert found["selection/entropy"] == pytest.approx(entropy, rel=1e-4)
    assert found["selection/greedy_hit_share"] == pytest.approx(greedy)
    assert found["selection/hit_share"] == pytest.approx(chance, abs=0.05)
