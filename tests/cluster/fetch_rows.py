"""Fetches random rows until a file appears, and notes of each fetch how long it took."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import ray

from raclib.corpus import CorpusStore, CorpusWriter, Field, open_corpus
from raclib.corpus.corpus import latest_version
from raclib.errors import UserError

FIELDS = {"values": Field("int32", (128,)), "time": Field("int64")}
NUM_ROWS, ROWS_PER_SHARD, ROWS_PER_FETCH = 24_000, 2000, 1200


def rows_of(ids: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of these ids: every number of them depends on the id."""
    values = ids[:, None] * 7919 + np.arange(128) * 104_729
    return {"values": (values % 2**31).astype(np.int32), "time": ids * 3 + 1}


def make(uri: str):
    if not latest_version(uri):
        with CorpusWriter(uri, FIELDS, ROWS_PER_SHARD) as writer:
            writer.write(rows_of(np.arange(NUM_ROWS)))
    return open_corpus(uri)


def fetch(client, ids: np.ndarray) -> str:
    """What became of a fetch: `right`, `wrong`, or an error."""
    try:
        found = client.fetch(ids, tuple(FIELDS))
    except UserError as error:
        return str(error)
    return "right" if is_right(found, ids) else "wrong"


def is_right(found: dict[str, np.ndarray], ids: np.ndarray) -> bool:
    wanted = rows_of(ids)
    return all(np.array_equal(found[name], wanted[name]) for name in FIELDS)


class Log:
    """Lines of JSON, each with the time."""

    def __init__(self, path: Path) -> None:
        self._file, self._lock = path.open("w", buffering=1), threading.Lock()

    def __call__(self, **event: object) -> None:
        with self._lock:
            self._file.write(json.dumps({"time": time.time(), **event}) + "\n")


def watch(log: Log) -> None:
    """Notes which hosts the head takes for alive, whenever that changes."""
    before = None
    while True:
        alive = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
        if alive != before:
            log(alive=alive)
        before = alive
        time.sleep(0.1)


def main(uri: str, log_file: str, stop_file: str) -> None:
    log, rng = Log(Path(log_file)), np.random.default_rng(0)
    corpus = make(uri)
    ray.init(address="auto", log_to_driver=False)
    with CorpusStore.start(corpus, num_servers=3, replicas=2, mount="hydrate") as store:
        client = store.client(local=False)
        threading.Thread(target=watch, args=(log,), daemon=True).start()
        while not Path(stop_file).exists():
            ids = rng.integers(0, NUM_ROWS, ROWS_PER_FETCH)
            began = time.time()
            log(outcome=fetch(client, ids), seconds=time.time() - began, began=began)
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
