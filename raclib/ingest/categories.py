"""Categories as codes, ids as hashes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from raclib.ingest.survey import is_present, is_text

MAX_CATEGORIES = 1_000
_MAX_WHOLE = 2.0**53  # from here on not every integer is a float


def to_strings(values: pa.ChunkedArray) -> pa.Array:
    """Values as strings, the same however they are stored; null where missing.

    A whole float or decimal is written like an integer: tools that know no missing integers make
    floats. What a value becomes depends on no other value.
    """
    found = values.combine_chunks()
    strings = found if is_text(found.type) else found.cast(pa.large_string())
    if types.is_floating(found.type):
        strings = pc.coalesce(_whole(found).cast(pa.large_string()), strings)
    elif types.is_decimal(found.type):
        strings = pc.replace_substring_regex(strings, r"\.0*$", "")
    return pc.if_else(is_present(found), strings.cast(pa.large_string()), None)


def frequent_values(values: pa.ChunkedArray) -> list[str]:
    """Different values, the most frequent first, `MAX_CATEGORIES` at most; ties by value."""
    counts = pc.value_counts(to_strings(values).drop_null())
    table = pa.table({"value": counts.field("values"), "count": counts.field("counts")})
    ordered = table.sort_by([("count", "descending"), ("value", "ascending")])
    return ordered["value"].slice(0, MAX_CATEGORIES).to_pylist()


def to_codes(values: pa.ChunkedArray, known: list[str]) -> np.ndarray:
    """Place of each value among the known ones, from 1; 0 where missing or new. int32 `[N]`."""
    places = pc.index_in(to_strings(values), pa.array(known, pa.large_string()))
    return (pc.fill_null(places, -1).to_numpy(zero_copy_only=False) + 1).astype(np.int32)


def to_hashes(values: pa.ChunkedArray) -> np.ndarray:
    """A number of 64 bits of each id, the same on every machine; 0 where missing. int64 `[N]`."""
    strings = to_strings(values)
    distinct = strings.dictionary_encode()
    hashes = pd.util.hash_array(distinct.dictionary.to_numpy(zero_copy_only=False))
    places = pc.fill_null(distinct.indices, len(hashes)).to_numpy(zero_copy_only=False)
    return np.append(hashes, np.uint64(0)).view(np.int64)[places]


def _whole(floats: pa.Array) -> pa.Array:
    """Those floats that are integers, as int64; null for others."""
    is_whole = pc.and_(pc.equal(pc.trunc(floats), floats), pc.less(pc.abs(floats), _MAX_WHOLE))
    return pc.if_else(is_whole, floats, None).cast(pa.int64())
