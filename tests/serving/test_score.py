"""All rows of a table are scored, by the version of the corpus at the beginning, once each."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raclib.corpus import open_corpus
from raclib.errors import UserError
from raclib.ingest.append import append_rows
from raclib.serving import score as module
from raclib.serving.arrow import to_arrow
from raclib.serving.score import ScoreConfig, score


@pytest.fixture
def table(history_table):
    """300 rows with labels and without, one of no time, the last without a label."""
    table = history_table.iloc[:300].copy()
    table.iloc[7, table.columns.get_loc("happened")] = None
    return table


@pytest.fixture
def config(shared_classifier, table, tmp_path, ray_cluster):
    """Six parts, in two files."""
    (tmp_path / "data").mkdir()
    table.iloc[:170].to_parquet(tmp_path / "data" / "a.parquet")
    table.iloc[170:].to_parquet(tmp_path / "data" / "b.parquet")
    run = f"{shared_classifier.config_.storage_path}/{shared_classifier.config_.name}"
    out = str(tmp_path / "out" / "scored.parquet")
    return ScoreConfig(run, str(tmp_path / "data"), out, rows_per_part=50)


def test_answers_evidence_and_columns_that_are_kept(config, shared_classifier, table):
    said = score(replace(config, evidence=3, keep=["shop_id", "answer"]))
    assert said.startswith("300 rows scored by version 3 of the corpus, in ")
    assert said.endswith("; 1 of them null, whose time cannot be read")
    found = pd.read_parquet(config.out)
    assert found.columns.tolist() == [
        "line", "time", "shop_id", "answer", "probability_no", "probability_yes",
        "base_probability_no", "base_probability_yes", "evidence_row", "evidence_label",
        "evidence_time", "evidence_known_time", "evidence_weight",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["line"], np.arange(300))
    for name, own in (("time", "happened"), ("shop_id", "shop_id"), ("answer", "answer")):
        assert found[name].tolist() == table[own].tolist() or own == "happened"
    assert found.loc[7, "probability_no":].isna().all()
    usable = np.arange(300) != 7
    predictor = shared_classifier._predictor
    answers = predictor.explain(to_arrow(table[usable]), 3)
    found = found[usable]
    for name, expected in {
        "probability": answers.probabilities_NC,
        "base_probability": answers.base_NC,
    }.items():
        np.testing.assert_allclose(found[[f"{name}_no", f"{name}_yes"]], expected, atol=1e-5)
    # Rows at the very beginning have fewer before them.
    assert [ids.tolist() for ids in found["evidence_row"]] == [
        ids[ids >= 0].tolist() for ids in answers.rows_NE
    ]
    full = found[found["evidence_row"].str.len() == 3].iloc[0]
    ids = full["evidence_row"]
    corpus = predictor.corpus
    known = corpus.read("time")[ids].astype("datetime64[ms]")
    np.testing.assert_array_equal(np.array(full["evidence_known_time"], "datetime64[ms]"), known)
    labels = [predictor.classes[label] for label in corpus.read("label")[ids]]
    assert full["evidence_label"].tolist() == labels
    assert not Path(f"{config.out}.staging").exists()


def stop(config, monkeypatch, where: str) -> Path:
    """Scores until it comes to a step; gives what is left."""
    with monkeypatch.context() as patch:
        patch.setattr(module, where, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score(config)
    return Path(f"{config.out}.staging")


def test_parts_that_are_written_are_not_scored_again(config, monkeypatch):
    left = stop(config, monkeypatch, "join_parts")
    parts = sorted((left / "parts").iterdir())
    expected = pd.concat(map(pd.read_parquet, parts), ignore_index=True)
    assert len(parts) == 6
    for part in (parts[1], parts[4]):
        part.unlink()
    marked = pd.read_parquet(parts[0])
    marked["probability_no"] = np.float32(7)
    marked.to_parquet(parts[0])
    with pytest.raises(UserError, match="evidence: another than that of the unfinished job"):
        score(replace(config, evidence=2))
    assert score(config).startswith("300 rows")
    found = pd.read_parquet(config.out)
    assert (found["probability_no"][:50] == 7).all()
    pd.testing.assert_frame_equal(found[50:], expected[50:])


def test_a_job_that_continues_keeps_its_version_of_the_corpus(
    config, classifier, make_table, monkeypatch, tmp_path
):
    run = Path(shutil.copytree(config.run, tmp_path / "run"))
    settings = json.loads((run / "settings.json").read_text())
    settings["corpus"] = classifier.config_.corpus
    (run / "settings.json").write_text(json.dumps(settings))
    config = replace(config, run=str(run))
    stop(config, monkeypatch, "score_parts")
    append_rows(open_corpus(classifier.config_.corpus), to_arrow(make_table(3030, 9, seed=2)))
    assert "by version 3 of" in score(config)
    other = stop(replace(config, out=f"{tmp_path}/new.parquet"), monkeypatch, "score_parts")
    assert json.loads((other / "plan.json").read_text())["version"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "none"}, "run: .*none: no run is here"),
        ({"data": "none.parquet"}, "none.parquet: missing|none.parquet: .*no such file|none"),
        ({"keep": ["colour"]}, "data: no column is called 'colour'; the table has happened, a,"),
        ({"version": 9}, "00000009.json: missing"),
    ],
)
def test_what_cannot_be_scored_is_said_in_a_line(config, change, message):
    with pytest.raises(UserError, match=message) as told:
        score(replace(config, **change))
    assert "\n" not in str(told.value)
    assert not Path(config.out).exists()


def test_a_value_that_does_not_fit_is_named_as_it_is(config, table, tmp_path):
    table.assign(a="many").to_csv(tmp_path / "wrong.csv")
    with pytest.raises(UserError, match="column 'a': a value of type string does not fit double"):
        score(replace(config, data=str(tmp_path / "wrong.csv")))
    assert not Path(config.out).exists()
    (tmp_path / "out" / "scored.parquet").write_text("mine")
    with pytest.raises(UserError, match="is there already; remove it"):
        score(config)
