"""What a training asks of a cluster: memory, storage, network and requests, by formula."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from jsonargparse.typing import PositiveInt

from raclib.corpus.hydrate import RANGE_BYTES
from raclib.corpus.manifest import Field
from raclib.errors import UserError


@dataclass
class Workload:
    """A corpus, a training step, and the clusters it is planned for."""

    num_rows: PositiveInt = 300_000_000
    """Rows of the corpus (K)."""
    row_dim: PositiveInt = 4096
    """Numbers of a row, float16 (D)."""
    key_dim: PositiveInt = 64
    """Numbers of a key (d)."""
    key_item_bytes: PositiveInt = 2
    """Bytes of a key's number on a device: 4 float32, 2 float16 or bfloat16, 1 int8."""
    batch_size: PositiveInt = 1024
    """Examples a step, over all workers (B)."""
    num_draws: PositiveInt = 4
    """Rows drawn for an example (kappa)."""
    num_sets: PositiveInt = 2
    """Sets of rows fetched for an example (M): one sampled and the greedy one by default."""
    num_parameters: PositiveInt = 17_185_539
    """Trained numbers (P), whose gradients nodes exchange; those of amazon_electronics.yaml."""
    replicas: PositiveInt = 2
    """Nodes that have a copy of a shard (r)."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return 2 * self.row_dim

    @property
    def rows_a_step(self) -> int:
        """Rows that a step fetches, of all nodes together."""
        return self.batch_size * self.num_draws * self.num_sets

    def check_nodes(self, num_nodes: int) -> None:
        """Raises a UserError if there are fewer nodes than replicas."""
        if num_nodes < self.replicas:
            raise UserError(
                f"plan.replicas: {self.replicas} copies need as many nodes, not {num_nodes}; "
                "lower it"
            )


@dataclass(frozen=True)
class FetchRates:
    """Measured rows a second of one process: called from a server, and read on its own node."""

    called: float
    local: float


def plan(workload: Workload, num_nodes: int, rates: FetchRates) -> dict[str, float]:
    """Units in the names; `a node` is for each node, `a step` for a step of the whole batch.

    Args:
        workload: Corpus and step.
        num_nodes: Nodes that serve and train (N); rows are drawn uniformly, the worst case for
            caches, and each node has r / N of the corpus.
        rates: Measured speeds, for rows of this size.

    Raises:
        UserError: if there are fewer nodes than replicas.
    """
    workload.check_nodes(num_nodes)
    w, nodes = workload, num_nodes
    corpus_bytes = w.num_rows * w.row_bytes
    received, away = w.rows_a_step / nodes, 1 - w.replicas / nodes
    blocks = distinct_blocks(w.num_rows, w.row_bytes, w.rows_a_step)
    seconds = received * (away / rates.called + (1 - away) / rates.local)
    return {
        "keys a device (GB)": w.num_rows * w.key_dim * w.key_item_bytes / 1e9,
        "rows on storage a node (GB)": corpus_bytes * w.replicas / nodes / 1e9,
        "S3 requests to hydrate, all nodes": w.replicas * corpus_bytes / RANGE_BYTES,
        "rows a step a node (MB)": received * w.row_bytes / 1e6,
        "of them from other nodes (MB)": received * away * w.row_bytes / 1e6,
        "gradients sent a step a node (MB)": 2 * (1 - 1 / nodes) * 4 * w.num_parameters / 1e6,
        "fetching a step at the measured rates (s)": seconds,
        "S3 requests a step, mount range, nothing cached": blocks,
        "S3 bytes a step, mount range (MB)": blocks * block_bytes(w.row_bytes) / 1e6,
    }


def plan_table(workload: Workload, nodes: Sequence[int], rates: FetchRates) -> pd.DataFrame:
    """The plan, a column for each number of nodes."""
    return pd.DataFrame({f"{num} nodes": plan(workload, num, rates) for num in nodes})


def distinct_blocks(num_rows: int, row_bytes: int, num_drawn: int) -> float:
    """Expected blocks that hold uniformly drawn rows; each is a request until it is cached."""
    num_blocks = -(-num_rows * row_bytes // block_bytes(row_bytes))
    return -num_blocks * math.expm1(num_drawn * math.log1p(-1 / num_blocks))


def block_bytes(row_bytes: int) -> int:
    """Bytes of rows that are verified, and therefore read, together."""
    return Field("uint8", (row_bytes,)).block_rows * row_bytes
