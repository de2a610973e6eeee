"""Fetches rows when an answer is ready on a host that has fallen silent since.

Prints `ready` when answers are, waits for a line, and prints what the fetch came to and seconds.
"""

import sys
import time

import numpy as np
import ray
from fetch_rows import FIELDS, NUM_ROWS, ROWS_PER_FETCH, is_right, make

from raclib.corpus import CorpusStore


def main(uri: str, address: str) -> None:
    corpus, ids = make(uri), np.random.default_rng(0).integers(0, NUM_ROWS, ROWS_PER_FETCH)
    ray.init(address=address, log_to_driver=False)
    with CorpusStore.start(corpus, num_servers=3, replicas=2) as store:
        pending = store.client(local=False).fetch_async(ids, tuple(FIELDS))
        refs = [ref for call in pending._calls for ref in call.refs]
        assert len(refs) == 3  # one of each server
        ray.wait(refs, num_returns=3, fetch_local=False)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        found = pending.result()
        print("right" if is_right(found, ids) else "wrong", time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
