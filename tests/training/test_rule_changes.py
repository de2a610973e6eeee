"""Rows and target change by one rule, and no row that is older than the change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.training.rule_changes import MAX_AGE, YOUNGEST, RuleChanges

SETS, BATCH, ROWS, DIM = 2, 40, 30, 3


def make(num_classes, seed, base=slice(0, 0)):
    rng = np.random.default_rng(seed)
    changes = RuleChanges(0.5, num_classes, DIM, base)

    def tensor(array):
        return torch.from_numpy(array)

    batch = {
        "label": tensor(rng.integers(0, num_classes, BATCH)),
        "key": tensor(rng.standard_normal((BATCH, DIM)).astype("f4")),
    }
    rows = {
        "label": tensor(rng.integers(0, num_classes, (SETS, BATCH, ROWS))),
        "key": tensor(rng.standard_normal((SETS, BATCH, ROWS, DIM)).astype("f4")),
        "age": tensor(rng.random((SETS, BATCH, ROWS)).astype("f4") * 2),
        "other": tensor(rng.standard_normal((SETS, BATCH, ROWS))),
    }
    missing = tensor(rng.random((SETS, BATCH, ROWS)) < 0.1)
    return changes, batch, rows, missing, tensor(rng.random((BATCH, changes.num_uniforms)))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 5]), st.integers(0, 10_000), st.sampled_from([slice(0, 0), slice(1, 3)]))
def test_labels_change_by_one_rule_for_recent_rows_only(num_classes, seed, base):
    changes, batch, rows, missing, uniforms = make(num_classes, seed, base)
    new_batch, new_rows = changes(batch, rows, missing, uniforms)
    unchosen = uniforms[:, 0] >= 0.5
    assert torch.equal(new_batch["label"][unchosen], batch["label"][unchosen])
    changed = new_rows["label"] != rows["label"]
    assert not changed[:, unchosen].any()
    oldest_B = rows["age"].masked_fill(missing, 0.0).amax(dim=(0, 2)).clamp_max(1.0)
    uniform = uniforms[:, 6].float()
    share_B = torch.where(uniform < 0.25, 4 * uniform, YOUNGEST ** ((4 * uniform - 1) / 3))
    age_B = MAX_AGE * share_B * oldest_B
    assert not (changed & ~missing & (rows["age"] >= age_B[:, None])).any()
    assert all(torch.equal(new_rows[name], rows[name]) for name in ("key", "age", "other"))
    for example in torch.nonzero(~unchosen).flatten().tolist():
        old = torch.cat([batch["label"][None, example], rows["label"][:, example].flatten()])
        new = torch.cat(
            [new_batch["label"][None, example], new_rows["label"][:, example].flatten()]
        )
        moved = torch.cat([old[None], new[None]])[:, old != new].T.tolist()
        # One class becomes one class, whether it is a row's or the example's.
        assert len({was for was, _ in moved}) == len({(was, now) for was, now in moved})


def test_changes_lie_within_what_a_young_corpus_holds():
    changes, batch, rows, missing, uniforms = make(2, 3)
    rows["age"] *= 0.01
    uniforms[:, 6] = 0.0625
    _, new_rows = changes(batch, rows, missing, uniforms)
    changed = (new_rows["label"] != rows["label"]) & ~missing
    assert changed.any()
    assert rows["age"][changed].max() < 0.25 * MAX_AGE * 0.02


def test_most_changes_are_as_often_of_any_order_of_age():
    changes, batch, rows, missing, uniforms = make(2, 0)
    rows["key"] = batch["key"][None, :, None].expand(SETS, -1, ROWS, -1).clone()  # all change
    rows["age"] = torch.linspace(0, 1, ROWS).expand(SETS, BATCH, ROWS).clone()
    missing[:] = False
    rows["label"].fill_(0)
    uniforms[:, 7], uniforms[:, 8] = 0.9, 0.9  # to class 1
    shares = []
    for place in (0.25, 0.625, 0.999):
        uniforms[:, 6] = place
        _, new_rows = changes(batch, rows, missing, uniforms)
        shares.append(new_rows["label"][:, uniforms[:, 0] < 0.5].float().mean().item())
    expected = [(rows["age"][0, 0] < MAX_AGE * age).float().mean() for age in (1, 1 / 8, 1 / 63)]
    assert shares == pytest.approx([float(value) for value in expected])


def test_the_example_changes_with_rows_where_it_lies():
    changes, batch, rows, missing, uniforms = make(2, 0)
    rows["key"] = batch["key"][None, :, None].expand(SETS, -1, ROWS, -1).clone()
    rows["age"].fill_(0.5)
    uniforms[:, 6] = 0.24  # the change is older than every row ...
    uniforms[:, 7] = 0.9  # ... and sets all to one class
    new_batch, new_rows = changes(batch, rows, missing, uniforms)
    chosen = uniforms[:, 0] < 0.5
    one = (uniforms[:, 8].float() * 2).long()
    assert torch.equal(new_batch["label"][chosen], one[chosen])
    assert torch.equal(new_rows["label"][:, chosen], one[None, chosen, None].expand(SETS, -1, ROWS))


def test_changes_are_frequent_and_of_every_size():
    changes, batch, rows, missing, uniforms = make(2, 1)
    _, new_rows = changes(batch, rows, missing, uniforms)
    share = (new_rows["label"] != rows["label"]).float().mean(dim=(0, 2))[uniforms[:, 0] < 0.5]
    assert 0.02 < share.mean() < 0.5
    assert share.max() > 0.2


def test_a_batch_without_a_chosen_example_stays_as_it_is():
    changes, batch, rows, missing, uniforms = make(2, 2)
    uniforms[:, 0] = 0.9
    new_batch, new_rows = changes(batch, rows, missing, uniforms)
    assert torch.equal(new_batch["label"], batch["label"])
    assert torch.equal(new_rows["label"], rows["label"])
