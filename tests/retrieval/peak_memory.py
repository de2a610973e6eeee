"""Prints the bytes a draw with its gradient takes at its peak, above keys, inputs and outputs.

A process of its own, since a process's peak never falls:
`python peak_memory.py NUM_KEYS TYPE NUM_EXAMPLES`.
"""

import resource
import sys

import torch

from raclib.retrieval import QuantizedKeys, draw


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def key_set(num_keys, dtype):
    values = torch.empty(num_keys, 64, dtype=dtype)  # filled in place, lest that sets the peak
    if dtype == torch.int8:
        return QuantizedKeys(values.random_(-60, 61), torch.full((num_keys,), 1 / 30))
    return values.normal_()


def run(num_keys, dtype, num_examples):
    queries = torch.randn(num_examples, 8, 64, requires_grad=True)
    draw(queries, torch.randn(2000, 64)).log_prob.sum().backward()  # loads what is loaded once
    keys = key_set(num_keys, dtype)
    before = peak()
    draw(queries, keys, 0.3).log_prob.sum().backward()
    return peak() - before


if __name__ == "__main__":
    print(run(int(sys.argv[1]), getattr(torch, sys.argv[2]), int(sys.argv[3])))
