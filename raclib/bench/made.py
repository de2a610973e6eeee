"""Corpora of random rows, made once and found again by later runs."""

from collections.abc import Callable, Mapping

import numpy as np

from raclib.arrays import Arrays
from raclib.corpus import files
from raclib.corpus.corpus import Corpus, latest_version, open_corpus
from raclib.corpus.manifest import TIME, Field
from raclib.corpus.writer import CorpusWriter

WRITE_BYTES = 64 * 2**20


def make_once(
    uri: str,
    fields: Mapping[str, Field],
    num_rows: int,
    rows_per_shard: int,
    make: Callable[[np.random.Generator, int], Arrays],
) -> Corpus:
    """A corpus of random rows, written unless it is there already.

    Args:
        uri: Where.
        fields: Those of a row, beside its time, which is its number.
        num_rows: Number of rows.
        rows_per_shard: Rows of a shard.
        make: Makes so many rows of these fields, `[N, *shape]`.
    """
    if latest_version(files.normalise(uri)):
        return open_corpus(uri)
    rng = np.random.default_rng(0)
    step = max(1, WRITE_BYTES // sum(field.row_bytes for field in fields.values()))
    with CorpusWriter(uri, {**fields, TIME: Field("int64")}, rows_per_shard) as writer:
        for lo in range(0, num_rows, step):
            hi = min(lo + step, num_rows)
            writer.write({**make(rng, hi - lo), TIME: np.arange(lo, hi)})
    return open_corpus(uri)
