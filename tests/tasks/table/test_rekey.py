"""The corpus of a table gets other keys: later rows get them too, and runs stay honest."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.errors import UserError
from raclib.ingest import append as append_module
from raclib.ingest.append import append_rows
from raclib.ingest.keys import KeyTransform
from raclib.ingest.rows import RowReader
from raclib.models.base import BaseConfig
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.config import TableConfig, TableKeyConfig
from raclib.tasks.table.recipe import prepare_table
from raclib.tasks.table.rekey import change, keys_of, parse_until, rekey_table

JOB = Path(__file__).resolve().parents[3] / "jobs" / "corpus.py"
NUM = 400
PCA = TableKeyConfig("pca", dim=4, base_weight=0.0)
SUPERVISED = TableKeyConfig(dim=4, nca_dim=3, base_weight=0.0)


def make_frame(start: str = "2020-01-01", num: int = NUM) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {f"x{place}": rng.normal(size=num) for place in range(6)}
    label = np.where(columns["x3"] + 0.3 * rng.normal(size=num) > 0, "yes", "no")
    return pd.DataFrame(
        {
            "time": pd.date_range(start, periods=num),
            "label": label,
            "user_id": rng.integers(0, 9, num),
            **columns,
        }
    )


@pytest.fixture
def config(tmp_path):
    make_frame().to_parquet(tmp_path / "table.parquet")
    return TableConfig(
        name="table",
        storage_path=str(tmp_path),
        data=str(tmp_path / "table.parquet"),
        rows_per_shard=150,
        base=BaseConfig(num_folds=2),
        key=PCA,
    )


@pytest.fixture
def corpus(config, without_ray):
    with without_ray():
        return prepare_base(config, prepare_table(config))[0]


def keys_are_those_of_the_transform(corpus) -> bool:
    rows = {name: corpus.read(name) for name in corpus.fields}
    keys = KeyTransform.of(corpus).transform(rows, rows["event_time"])
    return np.allclose(corpus.read("key"), keys, atol=2e-3)


def more() -> pa.Table:
    return pa.Table.from_pandas(make_frame("2022-01-01", 30), preserve_index=False)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_rows_that_come_later_get_the_keys_of_their_version(corpus, weight):
    later = rekey_table(corpus, replace(SUPERVISED, base_weight=weight))
    assert (corpus.version, later.version) == (2, 3)
    assert keys_of(later) == replace(SUPERVISED, base_weight=weight)
    extended = append_rows(later, more())
    assert len(extended) == NUM + 30
    for version in (corpus, later, extended):
        assert keys_are_those_of_the_transform(open_corpus(version.uri, version.version))
    assert KeyTransform.of(extended).checksum == KeyTransform.of(later).checksum
    # A row to be predicted gets the key that it would get as a row of the corpus.
    found = RowReader.of(extended).encode(more().drop_columns(["label"]))
    np.testing.assert_array_equal(found["key"], extended.read("key", NUM))
    assert "base" not in found


def test_keys_keep_the_base_classifier_that_they_were_made_by(corpus, config, without_ray):
    later = rekey_table(corpus, replace(SUPERVISED, base_weight=0.5))
    with without_ray():
        other = replace(config, key=keys_of(later), base=BaseConfig(num_folds=3))
        refitted = prepare_base(other, later)[0]
    # The base changed, so keys with its part are made anew.
    assert refitted.version == later.version + 2
    assert refitted.provenance["key_fit"]["base"]["num_folds"] == 3
    assert keys_are_those_of_the_transform(refitted)
    between = open_corpus(corpus.uri, later.version + 1)
    found = RowReader.of(between).encode(more().drop_columns(["label"]))
    expected = RowReader.of(later).encode(more().drop_columns(["label"]))
    np.testing.assert_array_equal(found["key"], expected["key"])


def test_a_version_published_meanwhile_is_not_appended_to(corpus, monkeypatch):
    """Its keys are others, of the same width."""
    load_base = append_module.load_base

    def overtaken(given):
        rekey_table(corpus, PCA, parse_until(corpus, "2020-05-01"))
        return load_base(given)

    monkeypatch.setattr(append_module, "load_base", overtaken)
    with pytest.raises(UserError, match="key_transform"):
        append_rows(corpus, more())
    newest = open_corpus(corpus.uri)
    assert (newest.version, len(newest)) == (3, NUM)


def test_a_run_asks_for_the_base_classifiers_part(config, without_ray):
    config = replace(config, key=replace(SUPERVISED, base_weight=0.5))
    with without_ray():
        corpus, _ = prepare_base(config, prepare_table(config))
        again, _ = prepare_base(config, prepare_table(config))
        assert KeyTransform.of(corpus).parts["base"] == slice(7, 9)
        assert again.version == corpus.version == 3
        assert keys_are_those_of_the_transform(corpus)
        without = replace(config, key=SUPERVISED)
        plain, _ = prepare_base(without, prepare_table(without))
    assert KeyTransform.of(plain).base_dim == 0
    with without_ray():
        none = replace(config, name="none", base=BaseConfig("perceiver"), reader="perceiver")
        unscored, _ = prepare_base(none, prepare_table(none))
    assert unscored.version == 1
    assert KeyTransform.of(unscored).base_dim == 0


def test_no_run_is_compared_on_keys_that_saw_later_labels(corpus, config, without_ray):
    rekey_table(corpus, PCA, parse_until(corpus, "2021-01-20"))
    with without_ray(), pytest.raises(UserError, match="labels known after the cutoff"):
        prepare_table(config)
    honest = rekey_table(open_corpus(corpus.uri), PCA)
    with without_ray():
        assert prepare_table(config).version == honest.version


def test_the_job(corpus, monkeypatch, capsys):
    def run(*args: str) -> None:
        monkeypatch.setattr(sys, "argv", ["corpus.py", "rekey", corpus.uri, *args])
        runpy.run_path(str(JOB), run_name="__main__")

    run("--kind", "supervised", "--dim", "5", "--until", "2020-06-01")
    assert "version=3" in capsys.readouterr().out
    newest = open_corpus(corpus.uri)
    assert keys_of(newest) == replace(PCA, kind="supervised", dim=5)
    assert newest.provenance["key_fit"]["num_known"] == 152
    with pytest.raises(SystemExit) as found:
        run("--until", "soon")
    assert found.value.code == 1
    assert "error: until: 'soon' is not a date" in capsys.readouterr().err


def test_a_corpus_of_no_table_is_left_alone(tmp_path):
    with CorpusWriter(str(tmp_path), {"time": Field("int64")}) as writer:
        writer.write({"time": np.arange(3)})
    with pytest.raises(UserError, match="not the corpus of a table"):
        keys_of(open_corpus(str(tmp_path)))


def test_what_is_not_given_stays():
    assert change(SUPERVISED, kind=None, dim=7, entity_weight=0.0) == replace(
        SUPERVISED, dim=7, entity_weight=0.0
    )


def test_numbers_are_of_the_tables_unit(corpus):
    provenance = corpus.provenance
    provenance["roles"]["time_unit"] = "day"
    assert parse_until(corpus, "18262") == parse_until(corpus, "2020-01-01") == 18262 * 86_400_000
    provenance["roles"]["time_unit"] = None
    with pytest.raises(UserError, match="not a date"):
        parse_until(corpus, "18262")
