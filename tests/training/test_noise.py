"""Noise is a function of seed, step and position alone."""

import torch

from raclib.training.noise import step_noise


def test_two_workers_see_the_noise_of_one():
    whole = step_noise(3, 17, slice(0, 8), 8, num_sets=2, num_draws=4)
    parts = [
        step_noise(3, 17, slice(start, start + 4), 8, num_sets=2, num_draws=4) for start in (0, 4)
    ]
    assert whole.draw_MBS2.shape == (2, 8, 4, 2)
    assert whole.draw_MBS2.dtype == torch.float64
    assert torch.equal(whole.draw_MBS2, torch.cat([part.draw_MBS2 for part in parts], dim=1))
    assert torch.equal(whole.input_B, torch.cat([part.input_B for part in parts]))
    assert torch.equal(whole.item_BS, torch.cat([part.item_BS for part in parts]))


def test_steps_and_seeds_differ():
    first = step_noise(3, 17, slice(None), 8, 1, 4)
    for seed, step in ((3, 18), (4, 17)):
        other = step_noise(seed, step, slice(None), 8, 1, 4)
        assert not torch.isin(first.draw_MBS2, other.draw_MBS2).any()


def test_numbers_are_not_shared_between_purposes():
    noise = step_noise(0, 0, slice(None), 64, 2, 4)
    together = torch.cat(
        [noise.draw_MBS2.flatten(), noise.input_B.flatten(), noise.item_BS.flatten()]
    )
    assert together.unique().numel() == together.numel()
