"""A generated table of any length, and whether a corpus holds what went into it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.atomic import write_atomic
from raclib.corpus.manifest import TIME
from raclib.corpus.reader import take_from
from raclib.ingest.features import FeatureEncoder
from raclib.ingest.key_shards import EVENT_TIME
from raclib.ingest.keys import KeyTransform
from raclib.ingest.labels import ClassIndex
from raclib.ingest.numbers import ROW_TIME
from raclib.sampling import draw_rows
from raclib.tasks.table.recipe import About

PIECE_ROWS = 50_000
NUM_NUMBERS, NUM_KINDS, NUM_CUSTOMERS = 16, 1_000, 1_000_000
START_MS, STEP_MS = 1_420_070_400_000, 1_000
MAX_DELAY = 200  # in steps; below STEP_MS, so that a label's time tells its row
NUM_TURNS = 1.5
KEY_TOLERANCE = 0.01  # a product of more rows rounds otherwise


def write_table(path: Path, num_rows: int) -> None:
    """Writes the table as Parquet, pieces in no order of time; whole or not at all."""
    pieces = np.random.default_rng(0).permutation(-(-num_rows // PIECE_ROWS)).tolist()
    schema = make_piece(num_rows, 0).schema
    with (
        write_atomic(str(path)) as file,
        pq.ParquetWriter(file, schema, use_dictionary=["kind"]) as out,
        tqdm(total=num_rows, desc="generating", unit=" rows") as progress,
    ):
        for number in pieces:
            piece = make_piece(num_rows, number)
            out.write_table(piece)
            progress.update(len(piece))


def make_piece(num_rows: int, number: int) -> pa.Table:
    """Rows of a piece of a table of so many rows; the same each time.

    A row is one second after the row before, its label known up to `MAX_DELAY` seconds later. The
    weights of two numbers in the label turn with time, those of the kind stay.
    """
    rng = np.random.default_rng([1, number])
    row = np.arange(number * PIECE_ROWS, min((number + 1) * PIECE_ROWS, num_rows))
    numbers = rng.standard_normal((len(row), NUM_NUMBERS), np.float32)
    kind = (rng.beta(0.5, 2, len(row)) * NUM_KINDS).astype(np.int64)
    delay, angle = rng.integers(0, MAX_DELAY, len(row)), 2 * np.pi * NUM_TURNS * row / num_rows
    effect = np.random.default_rng(0).standard_normal(NUM_KINDS)[kind]
    turning = numbers[:, 0] * np.cos(angle) + numbers[:, 1] * np.sin(angle)
    chance = 2 * turning + effect + rng.logistic(size=len(row))
    names = pa.array([f"kind {place}" for place in range(NUM_KINDS)])
    return pa.table(
        {
            "time": pa.array(START_MS + row * STEP_MS, pa.timestamp("ms")),
            "label_time": pa.array(START_MS + (row + delay) * STEP_MS + delay, pa.timestamp("ms")),
            "label": pa.array(chance > 0),
            "kind": names.take(pa.array(kind)),
            "customer_id": pa.array(rng.integers(0, NUM_CUSTOMERS, len(row))),
            **{f"number_{place}": column for place, column in enumerate(numbers.T.copy())},
        }
    )


def rows_of(known_N: np.ndarray) -> np.ndarray:
    """Rows of the table by the time at which their label was known, ms since 1970, int64."""
    step_N, delay_N = np.divmod(known_N - START_MS, STEP_MS)
    return step_N - delay_N


def count_wrong(corpus: Corpus, num_rows: int, num_checked: int) -> int:
    """How many of some rows of a corpus, drawn at random, are not those of the table.

    Everything is compared but the scores of the base classifier: the label, both times, what
    columns are encoded to, and the key that this and the scores make.

    Args:
        corpus: Made of the table.
        num_rows: Rows of the table.
        num_checked: Rows that are looked at.
    """
    ids = np.sort(draw_rows(np.random.default_rng(2), len(corpus), num_checked))
    found = take_from(corpus)(ids, tuple(corpus.fields))
    transform = KeyTransform.of(corpus)
    keys = transform.transform(found, found[EVENT_TIME])
    wrong_N = (np.abs(keys - found["key"]) > KEY_TOLERANCE).any(axis=1)
    for mine, expected in _expected(corpus, num_rows, found[TIME]):
        for name, values in expected.items():
            differs = found[name][mine] != values
            wrong_N[mine] |= differs.reshape(len(mine), -1).any(axis=1)
    return int(wrong_N.sum())


def _expected(
    corpus: Corpus, num_rows: int, known_N: np.ndarray
) -> Iterator[tuple[np.ndarray, Arrays]]:
    """Of each piece of the table the places of its rows, and what a corpus should hold of them."""
    features, classes = FeatureEncoder.load(corpus.uri), ClassIndex(About.of(corpus).classes)
    row_N = rows_of(known_N)
    piece_N = row_N // PIECE_ROWS
    for number in tqdm(np.unique(piece_N).tolist(), "checking rows", unit=" pieces"):
        mine = np.flatnonzero(piece_N == number)
        rows = make_piece(num_rows, number).take(pa.array(row_N[mine] - number * PIECE_ROWS))
        times = {name: rows[name].to_numpy().astype(np.int64) for name in ("time", "label_time")}
        encoded = features.encode(rows.append_column(ROW_TIME, pa.array(times["time"])))
        own = {"label": classes.encode(rows["label"]), TIME: times["label_time"]}
        yield mine, {**encoded, **own, EVENT_TIME: times["time"]}
