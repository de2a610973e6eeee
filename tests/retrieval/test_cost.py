"""What a draw reads and holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raclib.retrieval import draw
from raclib.retrieval.problem import Problem


@pytest.fixture
def scored(monkeypatch):
    """Collects (rows, examples) of all products of queries and keys in a draw's passes."""
    held, scores = [], Problem.scores

    def spy(self, spans):
        for each in scores(self, spans):
            held.append((each.stop - each.start, each.examples.stop - each.examples.start))
            yield each

    monkeypatch.setattr(Problem, "scores", spy)
    return held


@pytest.mark.parametrize("interval", [(0, 100_000), (70_123, 72_345), (0, 1), (99_999, 100_000)])
def test_shared_intervals_cost_what_they_hold(scored, interval):
    low, high = (torch.full((16,), bound) for bound in interval)
    draw(torch.randn(16, 2, 4), torch.randn(100_000, 4), 1.0, low, high)
    assert sum(rows for rows, _ in scored) <= interval[1] - interval[0] + 2 * 256


def test_windows_of_a_batch_cost_what_they_hold(scored):
    num_keys, window = 200_000, 10_000
    high = torch.randint(window, num_keys, (64,), generator=torch.Generator().manual_seed(0))
    draw(torch.randn(64, 2, 4), torch.randn(num_keys, 4), 1.0, high - window, high)
    assert sum(rows * examples for rows, examples in scored) <= 2 * 64 * window


def test_sets_share_one_reading_of_the_keys(scored):
    queries, keys = torch.randn(16, 2, 4), torch.randn(100_000, 4)
    draw(queries, keys, uniforms=torch.rand(3, 16, 2, 2, dtype=torch.float64))
    assert sum(rows for rows, _ in scored) == len(keys)


# Few examples are enough among many keys: scores of all would take 1.3 GB.
@pytest.mark.parametrize(
    "what, num_keys, dtype, num_examples",
    [
        pytest.param("draw", 1_000_000, "float32", 128, marks=pytest.mark.slow),
        ("draw", 10_000_000, "int8", 4),
        ("nearest", 1_500_000, "int8", 64),
    ],
)
def test_memory_does_not_grow_with_keys(what, num_keys, dtype, num_examples):
    script = Path(__file__).with_name("peak_memory.py")
    command = [sys.executable, str(script), what, str(num_keys), dtype, str(num_examples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    assert int(done.stdout) < 128e6
