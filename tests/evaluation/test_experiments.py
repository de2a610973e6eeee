"""What is made of the curves of the needle, of the rotating task and of memory."""

import numpy as np
import pandas as pd
import pytest
import torch

from raclib.bench import memory
from raclib.bench.memory import Case, MaterialisedStep
from raclib.evaluation import needle, rotating
from raclib.retrieval.draw import draw
from raclib.tasks.rotating.config import RotatingConfig
from raclib.training.noise import step_noise
from raclib.training.predict import Predictions
from raclib.training.step import Space


def curves(size, seed, found_at):
    step = np.arange(20, 4020, 20)
    found = step >= (found_at or np.inf)
    return pd.DataFrame(
        {
            "step": step,
            "history_size": size,
            "seed": seed,
            "loss": np.where(found, 0.01, np.log(2)),
            "selection/cross_entropy": 1.0,
            "selection/entropy": 1.0,
            "selection/hit_share": found * 1.0,
        }
    )


def test_exploration_ends_where_the_loss_leaves_chance_and_is_fitted():
    table = pd.concat([curves(k, s, 100 + 10 * k) for k in (4, 8, 16) for s in (0, 1)])
    runs = needle.summarize(pd.concat([table, curves(256, 0, None)]))
    assert runs["found"].tolist() == [True] * 6 + [False]
    assert np.isnan(runs["exploration"].iloc[-1])
    line = needle.fit_exploration(runs)
    assert line.slope == pytest.approx(10, rel=0.05)
    assert line.r_squared > 0.98
    assert needle.fit_exploration(runs[runs["history_size"] == 4]) is None


def test_lines_over_time_are_those_of_the_paper():
    found = rotating.lines(RotatingConfig(num_bins=1000)).pivot_table(
        index="time", columns="method", values="accuracy"
    )
    np.testing.assert_allclose(found[rotating.BAYES], 0.97725, atol=1e-4)
    assert found[rotating.FROZEN].iloc[-1] == pytest.approx(0.5, abs=1e-3)
    assert found[rotating.FROZEN].iloc[500] == pytest.approx(0.97725, abs=1e-3)


def test_bins_are_scored_apart_and_summarised_before_and_after():
    label = np.tile([0, 1], 50)
    wrong_late = np.eye(2, dtype=np.float32)[np.where(np.arange(100) < 50, label, 1 - label)]
    scores = rotating.over_time("x", 3, Predictions(wrong_late, label), 10)
    assert scores["accuracy"].tolist() == [1.0] * 5 + [0.0] * 5
    (row,) = rotating.summarize(scores, 0.5).itertuples()
    assert (row.seed, row.before, row.after, row.last) == (3, 1.0, 0.0, 0.0)


def test_the_fit_finds_the_coefficients_bytes_were_made_of():
    rng = np.random.default_rng(0)
    cases = [Case(*rng.integers(10, 1000, 5).tolist()) for _ in range(30)]
    rows = [
        {"variant": "v", **vars(c), "bytes": 4 * c.num_keys * c.key_dim + 9 * c.batch + 7e6}
        for c in cases
    ]
    fitted = memory.fit(pd.DataFrame(rows)).set_index("term")["bytes"]
    assert fitted["keys (K d)"] == pytest.approx(4)
    assert fitted["logits (B K)"] == pytest.approx(0, abs=1e-3)
    assert fitted["activations (B)"] == pytest.approx(9, rel=0.01)
    assert fitted["model and the rest"] == pytest.approx(7e6, rel=0.01)


def test_the_materialised_draw_has_the_streamed_ones_law():
    torch.manual_seed(0)
    queries = torch.randn(200, 3, 8, requires_grad=True)
    keys, lo, hi = torch.randn(9, 8), torch.zeros(200, dtype=torch.int64), torch.full((200,), 9)
    step = MaterialisedStep.__new__(MaterialisedStep)
    noise = step_noise(0, 0, slice(None), 200, 1, 3)
    found = MaterialisedStep.draw(step, queries, Space(keys, lo, hi, 0.5, None), noise)
    assert torch.equal(found.greedy, draw(queries, keys, 0.5).greedy)
    logits = torch.einsum("bsd,kd->bsk", queries, keys) / 8**0.5 / 0.5
    expected = []
    for slot in range(3):
        left = logits[:, slot].scatter(1, found.rows[0, :, :slot], -torch.inf).log_softmax(1)
        expected.append(left.gather(1, found.rows[0, :, slot : slot + 1]))
    expected = torch.cat(expected, 1)
    torch.testing.assert_close(found.log_prob[0], expected)
    gradients = [torch.autograd.grad(p.sum(), queries)[0] for p in (found.log_prob[0], expected)]
    torch.testing.assert_close(*gradients)
