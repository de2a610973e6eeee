"""Noise is a function of seed, step and position alone."""

import torch

from raclib.training.noise import step_noise


def test_two_workers_see_the_noise_of_one():
    sizes = {"num_sets": 2, "num_draws": 4, "num_change": 3}
    whole = step_noise(3, 17, slice(0, 8), 8, **sizes)
    parts = [step_noise(3, 17, slice(start, start + 4), 8, **sizes) for start in (0, 4)]
    assert whole.draw_MBS2.shape == (2, 8, 4, 2)
    assert whole.draw_MBS2.dtype == torch.float64
    assert torch.equal(whole.draw_MBS2, torch.cat([part.draw_MBS2 for part in parts], dim=1))
    assert torch.equal(whole.input_B, torch.cat([part.input_B for part in parts]))
    assert torch.equal(whole.item_BS, torch.cat([part.item_BS for part in parts]))
    assert whole.change_BX.shape == (8, 3)
    assert torch.equal(whole.change_BX, torch.cat([part.change_BX for part in parts]))


def test_changes_leave_the_draws_as_they_were():
    plain, changed = (step_noise(3, 17, slice(None), 8, 2, 4, num) for num in (0, 3))
    assert torch.equal(plain.draw_MBS2, changed.draw_MBS2)
    assert torch.equal(plain.item_BS, changed.item_BS)


def test_steps_and_seeds_differ():
    first = step_noise(3, 17, slice(None), 8, 1, 4)
    for seed, step in ((3, 18), (4, 17)):
        other = step_noise(seed, step, slice(None), 8, 1, 4)
        assert not torch.isin(first.draw_MBS2, other.draw_MBS2).any()


def test_numbers_are_not_shared_between_purposes():
    noise = step_noise(0, 0, slice(None), 64, 2, 4, num_change=3)
    together = torch.cat([values.flatten() for values in vars(noise).values()])
    assert together.unique().numel() == together.numel()
