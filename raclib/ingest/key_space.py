"""What keys of a table are made of: a row's arrays side by side, each column weighing alike."""

from dataclasses import dataclass

import numpy as np

from raclib.arrays import Arrays

MAX_ONE_HOT = 32
"""The most frequent categories of a column that have a place of their own in a key."""
EMBEDDING_WEIGHT = 4.0
"""An embedding says as much as this many columns."""
ENTITY_DIMS = 16
"""Numbers of a key that tell ids of one column apart."""


@dataclass(frozen=True)
class KeySpace:
    """Puts numbers, categories and embedding of a row side by side, scaled.

    A category is one-hot over the most frequent ones; a column's places have a variance of one in
    all, like a number, and those of the embedding have `EMBEDDING_WEIGHT`.

    Attributes:
        category_scale_c: Factor of each categorical column.
        embedding_scale: Factor of the embedding.
    """

    category_scale_c: np.ndarray
    embedding_scale: float

    @classmethod
    def fit(cls, rows: Arrays) -> "KeySpace":
        """Fits the factors to rows known before the cutoff; an embedding alone stays as it is."""
        if not {"numbers", "categories"} & rows.keys():
            return cls(np.empty(0, np.float32), 1.0)
        columns = rows.get("categories", np.empty((0, 0))).T
        variances = [_one_hot(codes).var(axis=0).sum() for codes in columns]
        embedding = rows.get("embedding", np.zeros((1, 1)))
        spread = embedding.var(axis=0, dtype=np.float32).sum()
        return cls(
            np.array([_inverse_root(value) for value in variances], np.float32),
            EMBEDDING_WEIGHT**0.5 * _inverse_root(spread),
        )

    def __call__(self, rows: Arrays) -> np.ndarray:
        """The place of each row, float32 `[N, D]`.

        Args:
            rows: `numbers`, `categories`, `embedding` as `FeatureEncoder` gives them, those there
                are.
        """
        parts = [rows["numbers"].astype(np.float32)] if "numbers" in rows else []
        for column, scale in enumerate(self.category_scale_c):
            parts.append(scale * _one_hot(rows["categories"][:, column]))
        if "embedding" in rows:
            parts.append(self.embedding_scale * rows["embedding"].astype(np.float32))
        # A table of ids alone has no place; one number keeps projections defined.
        return np.concatenate(parts or [np.zeros((_num_rows(rows), 1), np.float32)], axis=1)


def entity_part(hashes_NE: np.ndarray, weight: float) -> np.ndarray:
    """Numbers of a key that are alike where ids are, float32 `[N, E * ENTITY_DIMS]`.

    Equal ids have a product of `weight`^2, different ones of 0 on average (a random sign for each
    bit of the hash); a missing id is near nothing.

    Args:
        hashes_NE: int64, 0 where missing.
        weight: Length of an id's part.
    """
    bits_NEM = hashes_NE[..., None] >> np.arange(ENTITY_DIMS, dtype=np.int64) & 1
    signs_NEM = (2 * bits_NEM - 1) * (hashes_NE != 0)[..., None]
    return (weight / ENTITY_DIMS**0.5 * signs_NEM).reshape(len(hashes_NE), -1).astype(np.float32)


def base_part(base_NF: np.ndarray) -> np.ndarray:
    """Log-probabilities of a base classifier as numbers of a key, float32 `[N, F]`.

    They are centred for each row, so that differences are those of log-odds.

    Args:
        base_NF: What a corpus keeps of them; see `FittedBase.compress`.
    """
    base_NF = base_NF.astype(np.float32)
    return base_NF - base_NF.mean(axis=1, keepdims=True)


def _one_hot(codes_N: np.ndarray) -> np.ndarray:
    """float32 `[N, MAX_ONE_HOT + 1]`; missing, new and rare categories share place 0."""
    places = np.where(codes_N > MAX_ONE_HOT, 0, codes_N)
    return np.eye(MAX_ONE_HOT + 1, dtype=np.float32)[places]


def _inverse_root(variance: float) -> float:
    return float(variance) ** -0.5 if variance > 0 else 0.0


def _num_rows(rows: Arrays) -> int:
    return len(next(iter(rows.values())))
