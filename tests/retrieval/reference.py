"""The draw over materialised logits, as the paper writes it: every property is checked here."""

import math

import torch


def logits_of(queries, keys, temperature=1.0, lo=None, hi=None, scale=None):
    """[B, S, K], -inf outside the interval."""
    scale = 1 / math.sqrt(queries.shape[-1]) if scale is None else scale
    logits = queries @ keys.mT * (scale / temperature)
    row = torch.arange(keys.shape[-2])
    for bound, outside in ((lo, torch.lt), (hi, torch.ge)):
        if bound is not None:
            logits = logits.masked_fill(outside(row, bound[:, None])[:, None], -torch.inf)
    return logits


def log_prob_of(logits, rows):
    """Log-probability of rows [B, S] drawn in turn without replacement; 0 where a row is -1."""
    out = []
    for slot in range(rows.shape[1]):
        left = logits[:, slot].clone()
        for earlier in range(slot):
            gone = rows[:, earlier].clamp_min(0)
            kept = torch.where(
                rows[:, earlier] < 0, left.gather(1, gone[:, None])[:, 0], -torch.inf
            )
            left = left.scatter(1, gone[:, None], kept[:, None])
        picked = left.log_softmax(-1).gather(1, rows[:, slot, None].clamp_min(0))[:, 0]
        out.append(torch.where(rows[:, slot] < 0, 0.0, picked))
    return torch.stack(out, 1)


def greedy_of(logits):
    """Greedy rollout, -1 where no row is left."""
    left, out = logits.clone(), []
    for slot in range(logits.shape[1]):
        best, row = left[:, slot].max(-1)
        out.append(torch.where(best.isinf(), -1, row))
        left.scatter_(2, row[:, None, None].expand(-1, left.shape[1], 1), -torch.inf)
    return torch.stack(out, 1)


def entropy_of(logits):
    """Entropy of each slot's distribution over all eligible rows, nats."""
    prob = logits.softmax(-1)
    return torch.special.entr(prob).nan_to_num().sum(-1)
