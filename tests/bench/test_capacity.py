"""The plan's formulas against arithmetic by hand, simulation, and the model they speak of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raclib.bench.capacity import (
    FetchRates,
    Workload,
    block_bytes,
    distinct_blocks,
    plan,
    plan_table,
)
from raclib.corpus.manifest import Field
from raclib.errors import UserError
from raclib.run.cli import parse
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.models import build_model

ELECTRONICS = Path(__file__).parents[2] / "configs" / "amazon_electronics.yaml"
RATES = FetchRates(called=1000.0, local=4000.0)
# 1,000 rows of 8 kB; 64 of them a step; copies on 2 of 4 nodes.
SMALL = Workload(
    num_rows=1000,
    row_dim=4000,
    key_dim=16,
    key_item_bytes=2,
    batch_size=8,
    num_draws=4,
    num_sets=2,
    num_parameters=500_000,
    replicas=2,
)


def test_a_plan_is_what_one_computes_by_hand():
    found = list(plan(SMALL, 4, RATES).values())
    blocks = distinct_blocks(1000, 8000, 64)
    assert found == pytest.approx(
        [
            1000 * 16 * 2 / 1e9,
            8e6 * 2 / 4 / 1e9,
            2 * 8e6 / 2**23,
            16 * 8000 / 1e6,
            8 * 8000 / 1e6,
            2 * 3 / 4 * 4 * 500_000 / 1e6,
            8 / 1000 + 8 / 4000,
            blocks,
            blocks * 16_000 / 1e6,
        ]
    )


def test_one_node_with_every_row_asks_nothing_of_others():
    found = plan(replace(SMALL, replicas=1), 1, RATES)
    assert found["of them from other nodes (MB)"] == 0
    assert found["gradients sent a step a node (MB)"] == 0
    assert found["fetching a step at the measured rates (s)"] == pytest.approx(64 / 4000)


def test_more_copies_than_nodes_are_refused():
    with pytest.raises(UserError, match="replicas: 2 copies need as many nodes, not 1"):
        plan(SMALL, 1, RATES)


def test_the_table_has_a_column_for_each_number_of_nodes():
    table = plan_table(SMALL, [4, 8], RATES)
    assert list(table) == ["4 nodes", "8 nodes"]
    halved = table["8 nodes"] / table["4 nodes"]
    assert halved["rows on storage a node (GB)"] == halved["rows a step a node (MB)"] == 0.5
    assert halved["keys a device (GB)"] == 1


@pytest.mark.parametrize(
    ("num_rows", "row_bytes", "num_drawn"), [(4000, 8192, 500), (300, 40_000, 1000), (9000, 64, 40)]
)
def test_distinct_blocks_are_those_of_uniform_draws(num_rows, row_bytes, num_drawn):
    rng, rows = np.random.default_rng(0), Field("uint8", (row_bytes,)).block_rows
    drawn = rng.integers(0, num_rows, (400, num_drawn)) // rows
    counts = [len(np.unique(blocks)) for blocks in drawn]
    error = np.std(counts) / np.sqrt(len(counts))
    # The last block may be a part of one.
    expected = distinct_blocks(num_rows, row_bytes, num_drawn)
    assert np.mean(counts) == pytest.approx(expected, abs=5 * error + 0.01 * expected)


def test_of_few_rows_out_of_very_many_each_is_a_block():
    assert distinct_blocks(300_000_000, 8192, 8192) == pytest.approx(8192, rel=1e-4)
    assert block_bytes(8192) == 2 * 8192


def test_the_parameters_are_those_of_the_papers_model():
    config = parse(AmazonConfig, ELECTRONICS, [])
    width = Workload.row_dim
    statistics = {"embedding": width, "helpful_vote": 1}
    spread = {name: (torch.zeros(n), torch.ones(n)) for name, n in statistics.items()}
    model = build_model(config, spread, config.key.dim, 2, with_context=True)
    assert sum(values.numel() for values in model.parameters()) == Workload.num_parameters
    assert (Workload.batch_size, Workload.num_draws) == (
        config.train.batch_size,
        config.retrieval.num_draws,
    )
