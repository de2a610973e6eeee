"""Neighbourhood components analysis: a linear map under which rows of one class are near."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from raclib.ingest.projection import mean_distance

NUM_STEPS = 300
BATCH_ROWS = 768
LEARNING_RATE = 0.03
INITIAL_SPREAD = 10.0
"""Mean squared distance of two rows at the first step; distances are in units of a softmax."""
# A row without a near one of its class pulls only so much.
MIN_SHARE = 1e-6


def fit_nca(
    places_ND: np.ndarray, label_N: np.ndarray, initial_Dm: np.ndarray, seed: int
) -> np.ndarray:
    """Fits the map of Goldberger et al. (2004), "Neighbourhood Components Analysis".

    A row chooses another one with a probability that falls with the exponential of their squared
    distance; the map maximises the mean log-probability of choosing one of the same class. That is
    done here by Adam on batches: scikit-learn's NeighborhoodComponentsAnalysis compares all rows
    with all others in each step, which for 20,000 rows takes 3 GB and half a minute a step.

    Args:
        places_ND: Float32, centred; at least two rows.
        label_N: int64, two classes at least.
        initial_Dm: Where the map begins, float32; its scale does not matter.
        seed: Of the batches. The same gives the same.

    Returns:
        The map, float32 `[D, m]`, of no particular scale.
    """
    # At one scale of rows and of the map, one learning rate serves every table.
    places_ND = places_ND / mean_distance(places_ND)
    spread = mean_distance(places_ND @ initial_Dm)
    initial = torch.from_numpy(initial_Dm * (INITIAL_SPREAD**0.5 / spread))
    map_Dm = initial.float().requires_grad_()
    optimizer = torch.optim.Adam([map_Dm], LEARNING_RATE)
    rows_ND, classes_N = torch.from_numpy(places_ND), torch.from_numpy(label_N)
    random = torch.Generator().manual_seed(seed)
    with _one_thread():
        for _ in range(NUM_STEPS):
            batch_B = torch.randperm(len(classes_N), generator=random)[:BATCH_ROWS]
            optimizer.zero_grad()
            nca_loss(rows_ND[batch_B] @ map_Dm, classes_N[batch_B]).backward()
            optimizer.step()
    return map_Dm.detach().numpy()


def nca_loss(places_Bm: Tensor, classes_B: Tensor) -> Tensor:
    """Minus the mean log-probability that a row chooses another one of its class."""
    squares_B = places_Bm.square().sum(dim=1)
    scores_BB = 2 * places_Bm @ places_Bm.T - squares_B[:, None] - squares_B
    itself_BB = torch.eye(len(places_Bm), dtype=torch.bool)
    chosen_BB = scores_BB.masked_fill(itself_BB, -torch.inf).softmax(dim=1)
    share_B = (chosen_BB * (classes_B[:, None] == classes_B)).sum(dim=1)
    return -(share_B + MIN_SHARE).log().mean()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps are short, and sums over several threads depend on how many there are."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
