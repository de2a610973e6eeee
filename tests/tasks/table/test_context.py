"""Rows that are looked up were known before the example, and are the ones that are asked for."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.retrieval.keys import KeySet
from raclib.tasks.table.context import AGE_ROWS, Context, Strata, age_unit

STRATA = Strata([3, 2], [5, 12], 4)


def make(seed, num=40, num_examples=9):
    rng = np.random.default_rng(seed)
    known = np.sort(rng.integers(0, 60, num))
    keys = torch.from_numpy(rng.standard_normal((num, 3)).astype("f4"))
    key_set = KeySet(keys, torch.from_numpy(known))
    event = known - rng.integers(0, 9, num)
    label = rng.integers(0, 3, num)
    context = Context(STRATA, key_set, label, event, age_ms=10.0)
    batch = {
        "row": torch.arange(0, 2 * num_examples, 2),
        "key": torch.from_numpy(rng.standard_normal((num_examples, 3)).astype("f4")),
        "time": torch.from_numpy(rng.integers(-1, 62, num_examples)),
    }
    return context, batch, known, event, label


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 100_000))
def test_rows_are_the_nearest_of_each_stratum_and_the_newest_that_were_known(seed):
    context, batch, known, _, _ = make(seed)
    found = context.look(batch).numpy()
    for rows, key, time in zip(found, batch["key"], batch["time"].numpy(), strict=True):
        hi = np.searchsorted(known, time)
        assert (known[rows[rows >= 0]] < time).all()
        distance = (context.keys.keys - key).square().sum(1).numpy()

        def nearest(lo, hi, count, distance=distance):
            part = np.arange(max(lo, 0), max(hi, 0))
            best = part[np.argsort(distance[part], kind="stable")][:count]
            return [*best, *[-1] * (count - len(best))]

        newest = [row if row >= 0 else -1 for row in range(hi - 1, hi - 5, -1)]
        wanted = [*nearest(hi - 5, hi, 3), *nearest(hi - 12, hi - 5, 2), *newest]
        assert rows.tolist() == wanted
    assert STRATA.groups == [0, 0, 0, 1, 1, 2, 2, 2, 2]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100_000))
def test_a_label_that_is_not_yet_known_is_in_nothing_that_is_read(seed):
    context, batch, known, event, label = make(seed)
    seen = context.look(batch)
    mine = context.describe(batch, seen[None])
    late = known >= batch["time"].numpy().max()
    other = Context(STRATA, context.keys, np.where(late, 7, label), event, 10.0)
    again = other.describe(batch, seen[None])
    has_row = seen >= 0
    for name in mine:
        assert torch.equal(mine[name][0][has_row], again[name][0][has_row])
    assert (mine["age"][0][has_row] > 0).all()


def test_what_is_remembered_is_what_would_be_found():
    context, batch, *_ = make(3)
    wanted = context.look(batch)
    found = context.search(batch["key"], batch["time"].numpy())
    context.remember(batch["row"].numpy(), found)
    order = torch.tensor([4, 0, 8])
    part = {name: values[order] for name, values in batch.items()}
    assert torch.equal(context.look(part), wanted[order])


def test_ages_are_in_labels_known_since_and_in_the_time_that_they_took():
    context, batch, _, event, label = make(5)
    rows = context.look(batch)
    facts = context.describe(batch, rows[None])
    hi = np.searchsorted(context.keys.times_K.numpy(), batch["time"].numpy())
    at = rows.clamp_min(0).numpy()
    np.testing.assert_allclose(facts["age"][0], (hi[:, None] - at) / AGE_ROWS, rtol=1e-6)
    ages = (batch["time"].numpy()[:, None] - event[at]) / 10
    np.testing.assert_allclose(facts["event_age"][0], ages, rtol=1e-6)
    np.testing.assert_array_equal(facts["label"][0], label[at])
    assert torch.equal(facts["key"][0], context.keys.keys[rows.clamp_min(0)])


def test_the_unit_of_event_ages_knows_nothing_after_the_cutoff():
    time = np.arange(0, 1000, 10)
    assert age_unit(time, 500) == age_unit(np.append(time[:50], [10**9]), 500) == 10 * AGE_ROWS


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100_000), st.integers(0, 40))
def test_rows_that_come_later_are_found_as_if_they_had_been_there(seed, num_first):
    whole, batch, known, event, label = make(seed)
    keys = whole.keys.keys
    first = KeySet(keys[:num_first].clone(), torch.from_numpy(known[:num_first]))
    short = Context(STRATA, first, label[:num_first], event[:num_first], age_ms=7.0)
    before = short.look(batch)
    longer = first.extend(keys[num_first:].numpy(), known[num_first:])
    found = short.extend(longer, label[num_first:], event[num_first:], 10.0)
    assert found.look(batch).equal(whole.look(batch))
    rows = whole.look(batch)[None]
    for name, values in whole.describe(batch, rows).items():
        torch.testing.assert_close(found.describe(batch, rows)[name], values)
    assert short.look(batch).equal(before)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 100_000))
def test_rows_that_are_left_out_are_found_no_more(seed):
    context, batch, known, _, _ = make(seed)
    rng = np.random.default_rng(seed)
    out = np.sort(rng.permutation(len(known))[: rng.integers(0, len(known))])
    found = context.leave_out(out).look(batch).numpy()
    assert not np.isin(found, out).any()
    for rows, time in zip(found, batch["time"].numpy(), strict=True):
        left = np.setdiff1d(np.arange(np.searchsorted(known, time)), out)[::-1][:4]
        assert rows[-4:].tolist() == [*left, *[-1] * (4 - len(left))]
