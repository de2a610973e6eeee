"""Columns of lists of numbers as matrices."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from raclib.errors import UserError


def list_width(name: str, values: pa.ChunkedArray) -> int:
    """Length of a column's lists; 1 for plain numbers.

    Raises:
        UserError: if there is more than one length, or no list at all.
    """
    if not types.is_nested(values.type):
        return 1
    if types.is_fixed_size_list(values.type):
        return values.type.list_size
    sizes = pc.unique(pc.list_value_length(values.drop_null())).to_pylist()
    if len(sizes) != 1:
        raise UserError(
            f"column {name!r}: lists of {len(sizes)} different lengths; give one length, or "
            f"--columns.ignore [{name}]"
        )
    return sizes[0]


def to_matrix(name: str, values: pa.ChunkedArray, width: int) -> np.ndarray:
    """Lists or numbers as float32 `[N, width]`; NaN where one is missing.

    Raises:
        UserError: if a list is of another length.
    """
    column = values.combine_chunks()
    out = np.full((len(column), width), np.nan, np.float32)
    found = column.drop_null()
    if types.is_nested(column.type) and len(found):
        sizes = pc.unique(pc.list_value_length(found)).to_pylist()
        if sizes != [width]:
            raise UserError(f"column {name!r}: lists of {sizes} numbers, before it was {width}")
        found = found.flatten()
    if len(found):
        numbers = found.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        out[column.is_valid().to_numpy(zero_copy_only=False)] = numbers.reshape(-1, width)
    return out
