"""Numbers, dates and times as numbers of a normal distribution, missing ones told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from raclib.ingest.times import to_milliseconds

ROW_TIME = "_event_time"
MAX_QUANTILES = 1000
DAY_MS = 86_400_000


@dataclass(frozen=True)
class NumberEncoder:
    """Maps each column to a standard normal by its quantiles; flags follow for missing values.

    Attributes:
        quantiles: Quantiles [Q] of each column over the rows fitted on, rising.
        flagged: Columns that had missing values, each of which gets a column of flags.
    """

    quantiles: dict[str, np.ndarray]
    flagged: tuple[str, ...]

    @classmethod
    def fit(cls, columns: Mapping[str, np.ndarray]) -> "NumberEncoder":
        """Fits the map of columns `[N]`, float64, NaN where missing."""
        from sklearn.preprocessing import QuantileTransformer

        quantiles = {}
        for name, values in columns.items():
            num_quantiles = min(MAX_QUANTILES, len(values))
            fitted = QuantileTransformer(n_quantiles=num_quantiles, subsample=None)
            quantiles[name] = fitted.fit(values[:, None]).quantiles_[:, 0]
        flagged = tuple(name for name, values in columns.items() if np.isnan(values).any())
        return cls(quantiles, flagged)

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        return len(self.quantiles) + len(self.flagged)

    def encode(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Numbers `[N, dim]`, float16: 0 where missing; flags are 1 there, else 0."""
        num_rows = len(next(iter(columns.values()), ()))
        out = np.zeros((num_rows, self.dim), np.float16)
        if self.quantiles:
            values = np.stack([columns[name] for name in self.quantiles], axis=1)
            normal = _transformer(np.stack(list(self.quantiles.values()), axis=1)).transform(values)
            out[:, : len(self.quantiles)] = np.nan_to_num(normal)
        for place, name in enumerate(self.flagged, len(self.quantiles)):
            out[:, place] = np.isnan(columns[name])
        return out


def to_numbers(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as float64 `[N]`, NaN where missing or infinite.

    Dates are days after the row's own `_event_time`, durations and times of day seconds.
    """
    values = table[name].combine_chunks()
    kind = values.type
    if types.is_timestamp(kind) or types.is_date(kind):
        time, is_missing = to_milliseconds(values, None, name)
        days = (time - table[ROW_TIME].to_numpy()) / DAY_MS
        return np.where(is_missing, np.nan, days)
    if types.is_time(kind) or types.is_duration(kind):
        parts = 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
        storage = pa.int32() if kind.bit_width == 32 else pa.int64()
        values = pc.divide(values.cast(storage).cast(pa.float64()), parts)
    # Unsafe: integers beyond 2**53 are rounded, which is all that quantiles need.
    found = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(found), found, np.nan)


def _transformer(quantiles_QC: np.ndarray) -> Any:
    """scikit-learn's transformer, made of what was kept of fitted ones."""
    from sklearn.preprocessing import QuantileTransformer

    num_quantiles, num_columns = quantiles_QC.shape
    made = QuantileTransformer(n_quantiles=num_quantiles, output_distribution="normal")
    made.quantiles_, made.n_quantiles_ = quantiles_QC, num_quantiles
    made.references_, made.n_features_in_ = np.linspace(0, 1, num_quantiles), num_columns
    return made
