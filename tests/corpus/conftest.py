"""Small corpora that tests read, and the arrays that went into them."""

from itertools import pairwise

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus

FIELDS = {
    "embedding": Field("float16", (24,)),
    "pair": Field("int32", (2, 3)),
    "label": Field("int8"),
    "flag": Field("bool"),
    "time": Field("int64"),
}


def _make_rows(num_rows: int, seed: int = 0, start_time: int = 0) -> dict[str, np.ndarray]:
    """Random rows of `FIELDS`, with ties in time."""
    rng = np.random.default_rng(seed)
    return {
        "embedding": rng.standard_normal((num_rows, 24)).astype(np.float16),
        "pair": rng.integers(-(2**31), 2**31, (num_rows, 2, 3)).astype(np.int32),
        "label": rng.integers(-128, 128, num_rows).astype(np.int8),
        "flag": rng.integers(0, 2, num_rows).astype(bool),
        "time": start_time + np.sort(rng.integers(0, num_rows, num_rows)),
    }


def _write_corpus(uri: str, rows: dict[str, np.ndarray], rows_per_shard: int, **options):
    """Writes rows in uneven pieces and opens the corpus."""
    num_rows = len(rows["time"])
    with CorpusWriter(uri, FIELDS, rows_per_shard, **options) as writer:
        edges = [0, num_rows // 5, num_rows // 2, num_rows]
        for lo, hi in pairwise(edges):
            writer.write({name: array[lo:hi] for name, array in rows.items()})
    return open_corpus(uri)


def _same(found: dict[str, np.ndarray], rows: dict[str, np.ndarray], ids) -> bool:
    """Whether what was fetched are these rows, bit by bit."""
    return all(
        array.dtype == rows[name].dtype and array.tobytes() == rows[name][ids].tobytes()
        for name, array in found.items()
    )


@pytest.fixture(scope="session")
def make_rows():
    return _make_rows


@pytest.fixture(scope="session")
def write_corpus():
    return _write_corpus


@pytest.fixture(scope="session")
def same():
    return _same


@pytest.fixture(scope="session")
def rows():
    return _make_rows(5000)


@pytest.fixture(scope="session")
def corpus(rows, tmp_path_factory):
    """5000 rows in shards of 1200, 1200, 1200, 1200 and 200."""
    return _write_corpus(str(tmp_path_factory.mktemp("corpus") / "c"), rows, 1200)
