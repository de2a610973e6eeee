"""What a base classifier sees of rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

PREDICT_ROWS = 8192


@dataclass(frozen=True)
class Features:
    """Encoded inputs of N rows.

    Args:
        numbers: float32 `[N, n]`, scaled to about unit variance; missing ones are 0, and columns
            that say which are missing are among them.
        categories: Codes, int32 `[N, c]`; 0 is missing or unknown, codes beyond `sizes` are read
            as unknown too.
        sizes: For each category the number of codes, 0 among them.
        embedding: float16 or float32 `[N, E]`, or None.
        score: Probabilities that a classifier of the user's gave, `[N, C]`, or of class 1 of two,
            `[N]`; or None.

    Raises:
        ValueError: if lengths, widths or types do not fit.
    """

    numbers: np.ndarray
    categories: np.ndarray
    sizes: tuple[int, ...] = ()
    embedding: np.ndarray | None = None
    score: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {len(array) for array in self._arrays().values()}
        if len(lengths) > 1:
            raise ValueError(f"features: lengths {sorted(lengths)} differ; give one row each")
        if self.categories.shape[1] != len(self.sizes):
            raise ValueError(
                f"features: {self.categories.shape[1]} categories, but {len(self.sizes)} sizes"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def embedding_dim(self) -> int:
        """Width of the embedding; 0 without."""
        return 0 if self.embedding is None else self.embedding.shape[1]

    def take(self, rows: np.ndarray | slice) -> "Features":
        """Some of the rows."""
        taken = {name: array[rows] for name, array in self._arrays().items()}
        return Features(**taken, sizes=self.sizes)

    def codes(self, sizes: tuple[int, ...]) -> np.ndarray:
        """Codes, int64 `[N, c]`, as a classifier that knows so many reads them."""
        codes_Nc = self.categories.astype(np.int64)
        codes_Nc[(codes_Nc < 0) | (codes_Nc >= np.array(sizes, np.int64))] = 0
        return codes_Nc

    def dense(self) -> np.ndarray:
        """Numbers and embedding side by side, float32 `[N, n + E]`."""
        if self.embedding is None:
            return self.numbers
        return np.concatenate([self.numbers, self.embedding.astype(np.float32)], axis=1)

    def _arrays(self) -> dict[str, np.ndarray]:
        named = {
            "numbers": self.numbers,
            "categories": self.categories,
            "embedding": self.embedding,
            "score": self.score,
        }
        return {name: array for name, array in named.items() if array is not None}


# Features of the rows of these ids, int64 `[M]`; `Features.take` is one.
Read = Callable[[np.ndarray], Features]


def pieces(rows: np.ndarray) -> Iterator[slice]:
    """Splits rows into pieces that are predicted at a time."""
    for start in range(0, len(rows), PREDICT_ROWS):
        yield slice(start, min(start + PREDICT_ROWS, len(rows)))


def split_last(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and the last tenth, at least one, to stop by; of two rows or more."""
    num_late = max(1, num_rows // 10)
    rows = np.arange(num_rows)
    return rows[:-num_late], rows[-num_late:]


def moments(rows_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation `[D]` of columns, float32; 1 for a deviation of 0."""
    mean_D = rows_ND.mean(axis=0, dtype=np.float64)
    scale_D = rows_ND.std(axis=0, dtype=np.float64)
    scale_D[scale_D < 1e-6] = 1.0
    return mean_D.astype(np.float32), scale_D.astype(np.float32)
