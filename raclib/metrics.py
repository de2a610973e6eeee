"""What predictions are worth: five scores, over the last axis, with bootstrap intervals."""

import warnings

import numpy as np
import pandas as pd

SCORES = ("accuracy", "balanced_accuracy", "auroc", "log_loss", "calibration_error")


def score(label: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of probabilities of label 1, computed along the last axis.

    Balanced accuracy and AUROC are NaN where only one label occurs. The calibration error is the
    expected one over ten equal bins of the predicted probability (Naeini et al. 2015).

    Args:
        label: 0 or 1, `[..., N]`.
        probability: In [0, 1], `[..., N]`.

    Returns:
        For each name of `SCORES`, an array `[...]`.
    """
    label, probability = np.broadcast_arrays(label, probability.astype(np.float64))
    right = (probability > 0.5) == (label == 1)
    recalls = [_mean_where(right, label == value) for value in (0, 1)]
    clipped = probability.clip(1e-7, 1 - 1e-7)
    losses = -np.where(label == 1, np.log(clipped), np.log1p(-clipped))
    return {
        "accuracy": right.mean(axis=-1),
        "balanced_accuracy": (recalls[0] + recalls[1]) / 2,
        "auroc": _auroc(label, probability),
        "log_loss": losses.mean(axis=-1),
        "calibration_error": _calibration_error(label, probability),
    }


def intervals(
    label: np.ndarray, probability: np.ndarray, num_samples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals over examples, for each name of `SCORES`."""
    from scipy.stats import bootstrap  # a second of the start of workers, which need none

    def statistic(label: np.ndarray, probability: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        return np.stack(list(score(label, probability).values()))

    if len(label) < 2:
        return dict.fromkeys(SCORES, (np.nan, np.nan))
    with warnings.catch_warnings():
        # A bin with one label has no balanced accuracy: NaN says so, without a warning a bin.
        warnings.simplefilter("ignore")
        found = bootstrap(
            (label, probability),
            statistic,
            n_resamples=num_samples,
            paired=True,
            vectorized=True,
            method="percentile",
            axis=-1,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return dict(zip(SCORES, zip(found.low, found.high, strict=True), strict=True))


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (values & chosen).sum(axis=-1) / chosen.sum(axis=-1)


def _auroc(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Mann-Whitney's U over the number of pairs; ties count one half."""
    positive = (label == 1).sum(axis=-1)
    rows = probability.reshape(-1, probability.shape[-1])
    ranks = pd.DataFrame(rows).rank(axis=1).to_numpy().reshape(probability.shape)
    above = (ranks * (label == 1)).sum(axis=-1) - positive * (positive + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return above / (positive * (label.shape[-1] - positive))


def _calibration_error(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    bins = np.minimum((probability * 10).astype(np.int64), 9)
    gap = label - probability
    sums = [np.abs((gap * (bins == number)).sum(axis=-1)) for number in range(10)]
    return np.sum(sums, axis=0) / label.shape[-1]
