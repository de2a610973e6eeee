"""What the numbers and categories of a corpus were in its table, for people to read."""

import numpy as np
from scipy.special import ndtr

from raclib.arrays import Arrays
from raclib.ingest.features import FeatureEncoder

MISSING = "–"


def decode(features: FeatureEncoder, rows: Arrays) -> dict[str, list[str]]:
    """Values of numeric and categorical columns, as text; numbers to the digits that were kept.

    Dates are days after the row's own time, as they are learned from.

    Args:
        features: What encoded the rows.
        rows: Their fields `numbers` and `categories`, where the corpus has these.
    """
    found: dict[str, list[str]] = {}
    for place, (name, quantiles) in enumerate(features.numbers.quantiles.items()):
        found[name] = _numbers(features, rows["numbers"], place, name, quantiles)
    for place, (name, known) in enumerate(features.categories.items()):
        names = np.array([MISSING, *known], object)
        found[name] = names[rows["categories"][:, place]].tolist()
    return found


def _numbers(
    features: FeatureEncoder, numbers: np.ndarray, place: int, name: str, quantiles: np.ndarray
) -> list[str]:
    share = ndtr(numbers[:, place].astype(np.float64))
    values = np.interp(share, np.linspace(0, 1, len(quantiles)), quantiles)
    texts = [f"{value:.3g}" for value in values.tolist()]
    flagged = features.numbers.flagged
    if name in flagged:
        column = len(features.numbers.quantiles) + flagged.index(name)
        texts = [
            MISSING if is_missing else text
            for text, is_missing in zip(texts, numbers[:, column] > 0, strict=True)
        ]
    return texts
