"""Prints the bytes a draw with its gradient takes at its peak, above keys, inputs and outputs; or
a search for the nearest rows.

A process of its own, since a process's peak never falls:
`python peak_memory.py draw|nearest NUM_KEYS TYPE NUM_EXAMPLES`.
"""

import resource
import sys

import torch

from raclib.retrieval import QuantizedKeys, draw
from raclib.retrieval.nearest import nearest


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def key_set(num_keys, dtype):
    values = torch.empty(num_keys, 64, dtype=dtype)  # filled in place, lest that sets the peak
    if dtype == torch.int8:
        return QuantizedKeys(values.random_(-60, 61), torch.full((num_keys,), 1 / 30))
    return values.normal_()


def draw_once(queries, keys, num_keys):
    draw(queries, keys, 0.3).log_prob.sum().backward()


def search_once(queries, keys, num_keys):
    queries_Bd = queries.detach().flatten(0, 1)
    lo_B = torch.zeros(len(queries_Bd), dtype=torch.int64)
    nearest(queries_Bd, keys, 128, lo_B, lo_B + num_keys)


def run(once, num_keys, dtype, num_examples):
    queries = torch.randn(num_examples, 8, 64, requires_grad=True)
    once(queries, torch.randn(2000, 64), 2000)  # loads what is loaded once
    keys = key_set(num_keys, dtype)
    before = peak()
    once(queries, keys, num_keys)
    return peak() - before


if __name__ == "__main__":
    once = {"draw": draw_once, "nearest": search_once}[sys.argv[1]]
    print(run(once, int(sys.argv[2]), getattr(torch, sys.argv[3]), int(sys.argv[4])))
