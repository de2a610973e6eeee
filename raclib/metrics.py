"""What predictions are worth: seven scores of any number of classes, with bootstrap intervals.

A bootstrap sample is a weight for each example: how often it was drawn. So every score is made of
weighted sums, for all samples at once, and probabilities are never copied.
"""

import warnings

import numpy as np
from scipy.sparse import csr_array

SCORES = (
    "accuracy",
    "balanced_accuracy",
    "balanced_at_prior",
    "auroc",
    "average_precision",
    "log_loss",
    "calibration_error",
)
WEIGHTS_AT_ONCE = 2**20  # 8 MB, and a few arrays of that size beside them


def score(
    label: np.ndarray, probability: np.ndarray, prior_C: np.ndarray | None = None
) -> dict[str, float]:
    """Scores of probabilities of C classes.

    The class of highest probability is predicted; the first of equal ones. Balanced accuracy is the
    mean recall, and AUROC above two classes the mean of one class against the rest, over the
    classes that occur; both are NaN where only one does. Balanced accuracy at the prior is that of
    the class whose probability is highest in units of its rate: the decision that is best for
    balanced accuracy (Collell et al. 2018), where that of highest probability depends on how rare
    classes are. Average precision is that of label 1 of
    two classes, as scikit-learn's, NaN where there are more. The calibration error is the expected
    one over ten equal bins (Naeini et al. 2015): of the probability of label 1 of two classes, else
    of the highest probability (Guo et al. 2017).

    Args:
        label: 0 to C - 1, integers `[N]`.
        probability: In [0, 1], `[N, C]`.
        prior_C: Rates of the classes, above 0; without, there is no balanced accuracy at the prior
            (NaN).

    Returns:
        A number for each name of `SCORES`.
    """
    found = _scores(label, probability, prior_C, np.ones((len(label), 1)))
    return dict(zip(SCORES, found[:, 0].tolist(), strict=True))


def intervals(
    label: np.ndarray,
    probability: np.ndarray,
    num_samples: int,
    seed: int,
    prior_C: np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals over examples, for each name of `SCORES`.

    NaN where a score is not defined in every sample.
    """
    from scipy.stats import bootstrap  # a second of the start of workers, which need none

    def statistic(rows_SN: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        return _scores(label, probability, prior_C, _weights(rows_SN))

    if len(label) < 2:
        return dict.fromkeys(SCORES, (np.nan, np.nan))
    with warnings.catch_warnings():
        # A bin with one label has no balanced accuracy: NaN says so, without a warning a bin.
        warnings.simplefilter("ignore")
        found = bootstrap(
            (np.arange(len(label)),),
            statistic,
            n_resamples=num_samples,
            batch=max(1, WEIGHTS_AT_ONCE // len(label)),
            vectorized=True,
            method="percentile",
            axis=-1,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return dict(zip(SCORES, zip(found.low, found.high, strict=True), strict=True))


def _weights(rows_SN: np.ndarray) -> np.ndarray:
    """How often each example was drawn, `[N, S]`."""
    num_samples, num = rows_SN.shape
    places_SN = rows_SN + num * np.arange(num_samples)[:, None]
    counts = np.bincount(places_SN.ravel(), minlength=num_samples * num)
    return np.ascontiguousarray(counts.reshape(num_samples, num).T, dtype=np.float64)


def log_losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log-loss of each example, float64 `[N]`, in nats; probabilities of 0 count as 1e-7."""
    chosen = probability[np.arange(len(label)), label].astype(np.float64)
    return -np.log(chosen.clip(1e-7, 1 - 1e-7))


def _scores(
    label: np.ndarray, probability: np.ndarray, prior_C: np.ndarray | None, weight_NS: np.ndarray
) -> np.ndarray:
    """The scores `[len(SCORES), S]` of examples that count as often as weights (integers) say."""
    assert label.min() >= 0, "rows without a label have no scores"
    right = probability.argmax(axis=1) == label
    total_S = weight_NS.sum(axis=0)
    at_prior_S = np.full_like(total_S, np.nan)
    if prior_C is not None:
        right_at_prior = (probability / prior_C).argmax(axis=1) == label
        at_prior_S = _balanced_accuracy(label, right_at_prior, weight_NS)
    is_binary = probability.shape[1] == 2
    auroc_S, precision_S = (_binary if is_binary else _macro)(label, probability, weight_NS)
    if is_binary:
        claimed, came_true = probability[:, 1], label == 1
    else:
        claimed, came_true = probability.max(axis=1), right
    return np.stack(
        [
            right @ weight_NS / total_S,
            _balanced_accuracy(label, right, weight_NS),
            at_prior_S,
            auroc_S,
            precision_S,
            log_losses(label, probability) @ weight_NS / total_S,
            _calibration_error(claimed.astype(np.float64), came_true, weight_NS),
        ]
    )


def _balanced_accuracy(label: np.ndarray, right: np.ndarray, weight_NS: np.ndarray) -> np.ndarray:
    classes, number = np.unique(label, return_inverse=True)
    size_CS = _sum_groups(number, len(classes), weight_NS)
    hits_CS = _sum_groups(number[right], len(classes), weight_NS[right])
    occurs_CS = size_CS > 0
    recall_CS = np.divide(hits_CS, size_CS, out=np.zeros_like(hits_CS), where=occurs_CS)
    num_S = occurs_CS.sum(axis=0)
    return np.where(num_S > 1, recall_CS.sum(axis=0) / num_S, np.nan)


def _binary(
    label: np.ndarray, probability: np.ndarray, weight_NS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of label 1."""
    ranked = _rank(label == 1, probability[:, 1], weight_NS)
    return _auroc(*ranked), _average_precision(*ranked)


def _macro(
    label: np.ndarray, probability: np.ndarray, weight_NS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean AUROC of each class that occurs against the rest; no average precision."""
    sum_S, num_S = np.zeros((2, weight_NS.shape[1]))
    for number in np.unique(label):  # classes, at most a thousand
        auroc_S = _auroc(*_rank(label == number, probability[:, number], weight_NS))
        sum_S += np.nan_to_num(auroc_S)
        num_S += np.isfinite(auroc_S)
    return _ratio(sum_S, num_S), np.full(len(sum_S), np.nan)


def _rank(
    positive: np.ndarray, probability: np.ndarray, weight_NS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positive and of negative examples `[G, S]`, at each probability that a positive
    one has (odd rows) and between them (even rows), ascending."""
    levels = np.unique(probability[positive])
    place = np.searchsorted(levels, probability) + np.searchsorted(levels, probability, "right")
    num = 2 * len(levels) + 1
    positive_GS = _sum_groups(place[positive], num, weight_NS[positive])
    return positive_GS, _sum_groups(place, num, weight_NS) - positive_GS


def _auroc(positive_GS: np.ndarray, negative_GS: np.ndarray) -> np.ndarray:
    """Mann-Whitney's U over the number of pairs; ties count one half."""
    below_GS = np.cumsum(negative_GS, axis=0) - negative_GS / 2
    pairs_S = positive_GS.sum(axis=0) * negative_GS.sum(axis=0)
    return _ratio((positive_GS * below_GS).sum(axis=0), pairs_S)


def _average_precision(positive_GS: np.ndarray, negative_GS: np.ndarray) -> np.ndarray:
    """Precision at the threshold of each positive example, averaged over them."""
    found_GS = np.cumsum(positive_GS[::-1], axis=0)
    chosen_GS = np.cumsum((positive_GS + negative_GS)[::-1], axis=0)
    precision_GS = found_GS / np.maximum(chosen_GS, 1)  # nothing was found where nothing is chosen
    return _ratio((positive_GS[::-1] * precision_GS).sum(axis=0), found_GS[-1])


def _calibration_error(
    claimed: np.ndarray, came_true: np.ndarray, weight_NS: np.ndarray
) -> np.ndarray:
    bins = np.minimum((claimed * 10).astype(np.int64), 9)
    gap_NS = (came_true - claimed)[:, None] * weight_NS
    return np.abs(_sum_groups(bins, 10, gap_NS)).sum(axis=0) / weight_NS.sum(axis=0)


def _sum_groups(group: np.ndarray, num_groups: int, values_NS: np.ndarray) -> np.ndarray:
    """Sums of the rows of each group, `[num_groups, S]`."""
    num = len(group)
    shape = (num_groups, num)
    return csr_array((np.ones(num), (group, np.arange(num))), shape=shape) @ values_NS


def _ratio(above_S: np.ndarray, below_S: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.divide(above_S, below_S, out=np.full_like(below_S, np.nan), where=below_S > 0)
