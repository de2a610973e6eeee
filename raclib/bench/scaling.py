"""How fast rows are fetched and steps are done by more nodes, servers and workers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import ray
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from ray.cluster_utils import Cluster

from raclib.bench.fetch import draw_ids
from raclib.corpus import CorpusClient, CorpusStore
from raclib.run.cluster import connect
from raclib.run.store import telling
from raclib.run.tracking import RunLogger

FIELD = "row"
OBJECT_STORE_BYTES = 300 * 2**20


@dataclass(frozen=True)
class Setting:
    """What is varied."""

    nodes: int
    servers: int
    workers: int

    def __str__(self) -> str:
        return f"{self.nodes} nodes, {self.servers} servers, {self.workers} workers"


@contextmanager
def local_cluster(nodes: int, cpus: int) -> Iterator[None]:
    """A Ray cluster of several raylets on this machine, joined for the length of a `with` block.

    Args:
        nodes: Raylets.
        cpus: Logical processors that each declares.
    """
    cluster = Cluster()
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES)
        connect(cpus, address=cluster.address)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


@ray.remote(num_cpus=0)
class Fetcher:
    """A process that fetches rows, as a worker does."""

    def __init__(self, client: CorpusClient, batch_rows: int) -> None:
        self._client = client
        self._ids = draw_ids("uniform", len(client.corpus), batch_rows)
        self._client.fetch(next(self._ids), (FIELD,))

    def run(self, seconds: float) -> float:
        """Rows a second, fetching for that long."""
        began, rows = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds:
            rows += len(self._client.fetch(next(self._ids), (FIELD,))[FIELD])
        return rows / spent


def fetch_rate(client: CorpusClient, num: int, batch_rows: int, seconds: float) -> float:
    """Rows a second that several processes, one node after the other, fetch together.

    Args:
        client: Fetches from the servers; each process gets a copy.
        num: Processes.
        batch_rows: Rows of a fetch, drawn uniformly.
        seconds: How long.
    """
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    fetchers = [
        Fetcher.options(label_selector={"ray.io/node-id": nodes[i % len(nodes)]}).remote(  # type: ignore[attr-defined]
            client, batch_rows
        )
        for i in range(num)
    ]
    try:
        ray.get([fetcher.run.remote(0.0) for fetcher in fetchers])  # all are up and warm
        return sum(ray.get([fetcher.run.remote(seconds) for fetcher in fetchers]))
    finally:
        for fetcher in fetchers:
            ray.kill(fetcher)


def fetch_rates(
    store: CorpusStore, setting: Setting, batch_rows: int, seconds: float
) -> dict[str, float]:
    """Rows a second by calls alone, and with shards on a worker's own node read without a call."""
    return {
        name: fetch_rate(store.client(local), setting.workers, batch_rows, seconds)
        for name, local in (("called_rows_per_s", False), ("rows_per_s", True))
    }


def step_time(logger: RunLogger) -> dict[str, float]:
    """Median seconds from one logged step to the next, and their parts.

    The first two logged steps count as warm-up.
    """
    with telling(logger.uri):
        points = MlflowClient(logger.uri).get_metric_history(logger.run_id, "loss")
    logged = sorted((point.step, point.timestamp / 1000) for point in points)
    steps, times = np.array(logged).T
    assert len(steps) >= 4, "too few logged steps"
    taken = np.diff(steps)[2:]
    found = {"step_s": float(np.median(np.diff(times)[2:] / taken))}
    for part in ("draw", "fetch", "backward"):
        seconds = logger.curve(f"seconds/{part}").to_numpy()[3:] / taken
        found[f"{part}_s"] = float(np.median(seconds))
    return found


def with_ratios(found: dict[Setting, dict[str, float]]) -> pd.DataFrame:
    """A row a setting; speeds also in units of the first setting's, as `speedup/...`."""
    table = pd.DataFrame([{**asdict(setting), **values} for setting, values in found.items()])
    first = table.iloc[0]
    for name in ("called_rows_per_s", "rows_per_s"):
        table[f"speedup/{name}"] = table[name] / first[name]
    table["speedup/step"] = first["step_s"] / table["step_s"]
    return table


def plot(table: pd.DataFrame) -> Figure:
    """Rows a second and step time against nodes, a line for each number of servers and workers."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    titles = {"called_rows_per_s": "rows/s by calls", "rows_per_s": "rows/s", "step_s": "s a step"}
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for (servers, workers), part in table.groupby(["servers", "workers"]):
            label = f"{servers} servers, {workers} workers"
            axes.plot(part["nodes"], part[name], marker="o", label=label)
        axes.set(xlabel="nodes", ylabel=title, ylim=(0, None), xticks=sorted(set(table["nodes"])))
    axes.legend(fontsize="small")
    return figure
