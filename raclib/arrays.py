"""Rows as NumPy arrays, apart from torch: processes that only read rows start without it."""

import numpy as np

Arrays = dict[str, np.ndarray]
"""Named arrays of rows, `[N, ...]`."""
