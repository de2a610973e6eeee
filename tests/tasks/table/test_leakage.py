"""Nothing that was not known is retrieved, and nothing is fitted on it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.ingest.categories import to_hashes
from raclib.ingest.columns import ColumnsConfig
from raclib.ingest.config import EncoderConfig
from raclib.ingest.keys import KeyTransform
from raclib.models.base import BaseConfig
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.config import (
    TableConfig,
    TableDrawConfig,
    TableFitConfig,
    TableKeyConfig,
    TableSplitConfig,
)
from raclib.tasks.table.recipe import prepare_table

CPU = torch.device("cpu")
START, CUTOFF = pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-15")
DAY = pd.Timedelta("1D")
WINDOW, NUM_LOOKED = 25, 12
WORDS = np.array(["late", "early", "open", "closed", "again", "never"])


def random_table(seed: int, num_rows: int, num_days: int, max_delay: int) -> pd.DataFrame:
    """Unsorted rows with ties of times; labels known early, at once, late or never."""
    rng = np.random.default_rng(seed)
    event = pd.Series(START + pd.to_timedelta(rng.integers(0, num_days, num_rows), "D"))
    delay = pd.to_timedelta(rng.integers(-1, max_delay + 1, num_rows), "D")
    label = rng.choice(np.array(["no", "yes", "maybe", None]), num_rows, p=[0.5, 0.3, 0.15, 0.05])
    return pd.DataFrame(
        {
            "row": np.arange(num_rows),
            "event": event,
            "decided": (event + delay).where(rng.random(num_rows) > 0.05),
            "label": label,
            "amount": np.where(rng.random(num_rows) < 0.1, np.nan, rng.exponential(10, num_rows)),
            "shop": rng.choice(np.array(["a", "b", "c", "d"]), num_rows),
            "user": rng.integers(0, 9, num_rows),
            "note": [" ".join(rng.choice(WORDS, 5)) for _ in range(num_rows)],
            "vector": list(rng.normal(size=(num_rows, 3))),
            "score": rng.random(num_rows),
        }
    )


def known(table: pd.DataFrame) -> pd.Series:
    """When the label of a row was known; NaT where that was never."""
    when = table["decided"].where(table["label"].notna())
    return when.where(when.isna() | (when > table["event"]), table["event"])


def config_of(table: pd.DataFrame, folder: Path) -> TableConfig:
    table.to_parquet(folder / "table.parquet")
    return TableConfig(
        name="leak",
        storage_path=str(folder),
        data=str(folder / "table.parquet"),
        time="event",
        label_time="decided",
        cutoff=str(CUTOFF.date()),
        rows_per_shard=50,
        encoder=EncoderConfig(dim=8),
        columns=ColumnsConfig(
            numeric=["amount"],
            categorical=["shop"],
            entity=["row", "user"],
            text=["note"],
            embedding=["vector"],
            score=["score"],
        ),
        base=BaseConfig(num_folds=2),
        retrieval=TableDrawConfig(nearest=[3, 2], strata=[5, NUM_LOOKED], newest=2),
        key=TableKeyConfig(dim=4, base_weight=0.5),
        split=TableSplitConfig(window=WINDOW, num_bins=4),
        train=TableFitConfig(batch_size=2),
    )


tables = st.builds(
    random_table,
    seed=st.integers(0, 2**32 - 1),
    num_rows=st.integers(60, 160),
    num_days=st.sampled_from([16, 20, 30]),
    max_delay=st.sampled_from([0, 1, 5, 12]),
)


def lines_of(corpus, table: pd.DataFrame) -> np.ndarray:
    """The line of the table that each row of the corpus was."""
    hashes = to_hashes(pa.chunked_array([table["row"].to_numpy()]))
    order = np.argsort(hashes)
    return order[np.searchsorted(hashes[order], corpus.read("entities")[:, 0])]


@settings(max_examples=10, deadline=None)
@given(table=tables)
def test_an_example_may_retrieve_what_was_known_before_it_and_nothing_else(
    table, without_ray, make_task
):
    with tempfile.TemporaryDirectory() as folder, without_ray():
        config = config_of(table, Path(folder))
        try:
            corpus, base = prepare_base(config, prepare_table(config))
            task = make_task(config, corpus, base)
        except UserError:
            reject()  # too few rows or classes before the cutoff
        lines = lines_of(corpus, table)
        when, event = known(table), table["event"]
        assert set(lines) == set(np.flatnonzero(when.notna()))
        for split in ("train", "validation", "test"):
            rows, history = task.examples(split), task.history(split, CPU)
            batch = task.load(split, rows, CPU)
            _, lo_B, hi_B = history.select(batch)
            may = np.arange(len(corpus) if split == "test" else task.num_before)
            looked_BN = history.look(batch)
            for row, lo, hi, looked_N in zip(
                rows, lo_B.tolist(), hi_B.tolist(), looked_BN, strict=True
            ):
                window = lines[history.keys.row_ids(torch.arange(lo, hi)).numpy()]
                moment = event[lines[row]]
                assert (when[window] < moment).all()
                eligible = lines[may][(when[lines[may]] < moment).to_numpy()]
                assert len(window) == min(WINDOW, len(eligible))
                assert np.sort(when[window]).tolist() == np.sort(when[eligible])[-WINDOW:].tolist()
                looked = lines[history.keys.row_ids(looked_N[looked_N >= 0]).numpy()]
                last = np.sort(when[eligible])[-NUM_LOOKED:]
                assert np.isin(when[looked], last).all()
                assert np.isin(np.unique(last)[-1:], when[looked]).all(), "the newest is read"
            if split != "test":
                assert (when[lines[rows]] < CUTOFF).all()
                assert (when[lines[may]] < CUTOFF).all()
        names = corpus.provenance["table"]["classes"]
        assert [names[code] for code in corpus.read("label")] == table["label"][lines].tolist()


def garble(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same table, but for all that was not known at the cutoff."""
    rng = np.random.default_rng(seed)
    table, when = table.copy(), known(table)
    late = np.flatnonzero((when >= CUTOFF) | when.isna())
    labelled = late[table["label"].notna().to_numpy()[late]]
    table.loc[labelled, "label"] = rng.choice(np.array(["no", "yes", "maybe"]), len(labelled))
    table.loc[late, "amount"] = rng.normal(1e6, 1e6, len(late))
    table.loc[late, "shop"] = rng.choice(np.array(["new", "newer"]), len(late))
    table.loc[late, "user"] = rng.integers(0, 1000, len(late))
    table.loc[late, "note"] = "garbled beyond all recognition now"
    table.loc[late, "score"] = rng.random(len(late))
    vectors = table["vector"].to_list()
    for line in late:
        vectors[line] = rng.normal(9, 9, 3)
    table["vector"] = vectors
    dated = late[when.notna().to_numpy()[late]]
    table.loc[dated, "decided"] = CUTOFF + pd.to_timedelta(rng.integers(0, 20, len(dated)), "D")
    return table


def fitted(config: TableConfig, without_ray, make_task) -> dict[str, object]:
    """All that was fitted, and all that a corpus says of rows known at the cutoff."""
    with without_ray() as warnings:
        corpus, base = prepare_base(config, prepare_table(config))
        task = make_task(config, corpus, base)
    num_known = int((corpus.read("time") < corpus.provenance["table"]["cutoff_ms"]).sum())
    folder = Path(config.corpus_uri)
    transform = KeyTransform.of(corpus).to_bytes()
    bases = [base.classifiers.base, *base.classifiers.by_fold]
    return {
        "features": (folder / "features.npz").read_bytes(),
        "transform": transform,
        "warnings": tuple(warnings),
        "bases": [part.to_bytes() for part in bases],
        "folds": base.classifiers.fold_N[:num_known].tobytes(),
        "statistics": [part.numpy().tobytes() for part in task.statistics["embedding"]],
        "train": task.splits.train.tobytes(),
        **{name: corpus.read(name)[:num_known].tobytes() for name in corpus.fields},
    }


@settings(max_examples=8, deadline=None)
@given(table=tables, seed=st.integers(0, 100))
def test_what_is_fitted_depends_on_nothing_that_was_not_known_at_the_cutoff(
    table, seed, without_ray, make_task
):
    if set(table["label"][known(table) < CUTOFF]) != {"no", "yes", "maybe"}:
        reject()  # the names of the classes are those of the whole table
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("as it was", table), ("garbled", garble(table, seed))):
            (Path(folder) / name).mkdir()
            config = config_of(rows, Path(folder) / name)
            try:
                found.append(fitted(config, without_ray, make_task))
            except UserError:
                reject()
    first, second = found
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], name


def test_what_is_fitted_depends_on_what_was_known(without_ray, make_task, tmp_path):
    """The test above would see a difference."""
    table = random_table(0, 150, 20, 5)
    other = table.copy()
    early = np.flatnonzero(known(table) < CUTOFF)[3]
    other.loc[early, "amount"] = 1e9
    other.loc[early, "label"] = "yes" if table["label"][early] == "no" else "no"
    found = []
    for name, rows in (("first", table), ("second", other)):
        (tmp_path / name).mkdir()
        found.append(fitted(config_of(rows, tmp_path / name), without_ray, make_task))
    first, second = found
    differing = {name for name in first if first[name] != second[name]}
    assert differing >= {"features", "transform", "bases", "base", "label", "numbers"}


def test_a_row_never_sees_itself_whatever_its_label_time(without_ray, make_task, tmp_path):
    table = random_table(1, 150, 20, 0)
    table["decided"] = table["event"] - 30 * DAY
    config = config_of(table, tmp_path)
    with without_ray():
        corpus, base = prepare_base(config, prepare_table(config))
        task = make_task(config, corpus, base)
    assert corpus.provenance["table"]["num_early_labels"] == int(table["label"].notna().sum())
    np.testing.assert_array_equal(corpus.read("time"), corpus.read("event_time"))
    rows = task.examples("test")
    history, batch = task.history("test", CPU), task.load("test", rows, CPU)
    _, _, hi_B = history.select(batch)
    assert (hi_B.numpy() <= rows).all()
    assert (history.look(batch).numpy() < rows[:, None]).all()


@pytest.mark.parametrize("cutoff", ["2020-01-15", "2020-01-15T00:00:00Z", "2020-01-15 02:00+02:00"])
def test_the_cutoff_is_a_moment_in_utc(cutoff, without_ray, make_task, tmp_path):
    config = replace(config_of(random_table(2, 120, 20, 2), tmp_path), cutoff=cutoff)
    with without_ray():
        corpus = prepare_table(config)
    assert corpus.provenance["table"]["cutoff_ms"] == CUTOFF.value // 10**6
