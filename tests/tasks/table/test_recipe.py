"""From a table to its corpus: every kind of column, refusals of one line, continuing."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclib.corpus import open_corpus
from raclib.errors import UserError
from raclib.ingest import prepare
from raclib.ingest.categories import to_hashes
from raclib.ingest.columns import ColumnsConfig
from raclib.ingest.config import EncoderConfig
from raclib.ingest.features import FeatureEncoder
from raclib.ingest.keys import KeyTransform
from raclib.models.base import BaseConfig
from raclib.run.cli import main
from raclib.tasks.table.base import prepare_base
from raclib.tasks.table.config import TableConfig, TableKeyConfig
from raclib.tasks.table.recipe import prepare_table

NUM = 3000
START = pd.Timestamp("2021-01-01")
DAY_MS = 86_400_000
WORDS = np.array(["claim", "late", "paid", "again", "open", "never", "seen", "house"])


def everything() -> pd.DataFrame:
    """Unsorted rows of every kind of column; expected values are made of the same frame."""
    rng = np.random.default_rng(0)
    day = rng.integers(0, 300, NUM)  # ten rows a day have one time
    event = pd.Series(START + pd.to_timedelta(day, "D"))
    new = (day > 250) & (rng.random(NUM) < 0.5)
    plain = rng.integers(0, 1000, NUM)
    amount = rng.exponential(10, NUM)
    amount[::7], amount[1::70], amount[2::70] = np.nan, np.inf, -np.inf
    ids = rng.integers(10**11, 10**11 + 40, NUM)
    return pd.DataFrame(
        {
            "id": np.arange(NUM),
            "happened": event,
            "label_known": event + pd.to_timedelta(rng.integers(0, 9, NUM), "D"),
            "outcome": rng.choice(np.array(["won", "lost", None]), NUM, p=[0.5, 0.4, 0.1]),
            "amount": amount,
            "count": rng.integers(0, 9, NUM),
            "urgent": rng.random(NUM) < 0.3,
            "kind": np.where(new, "new kind", np.char.add("kind ", plain.astype(str))),
            "user_id": ids,
            "shop_id": pd.Series(ids % 40).where(rng.random(NUM) < 0.9).astype(float),
            "device": np.char.add("device ", rng.integers(0, 2500, NUM).astype(str)),
            "note": [" ".join(rng.choice(WORDS, 6)) for _ in range(NUM)],
            "vector": list(rng.normal(size=(NUM, 4)).astype(np.float32)),
            "path": [rng.normal(size=rng.integers(1, 4)) for _ in range(NUM)],
            "score": rng.random(NUM),
            "signed": [
                dt.date(2021, 1, 1) + dt.timedelta(int(d)) for d in day - rng.integers(0, 5, NUM)
            ],
            # Always six hours before, which says nothing.
            "opened": (event - pd.Timedelta("6h"))
            .dt.tz_localize("UTC")
            .dt.tz_convert("Asia/Tokyo"),
            "fee": [Decimal(int(value)) / 100 for value in rng.integers(0, 9999, NUM)],
            "region": rng.choice(np.array(["north", "south", "", None]), NUM),
            "parts": [{"a": 1, "b": "x"}] * NUM,
            "items": [[{"a": 1}]] * NUM,
            "nothing": [None] * NUM,
            "always": ["same"] * NUM,
            "bytes": [bytes([value % 256]) for value in plain],
        }
    )


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.column_names.index("vector")
    fixed = table["vector"].cast(pa.list_(pa.float32(), 4))
    table = table.set_column(place, "fixed", fixed)
    vectors = frame["vector"].tolist()
    vectors[3] = None
    return table.append_column("vector", pa.array(vectors, pa.list_(pa.float64())))


@pytest.fixture(scope="module")
def frame():
    return everything()


@pytest.fixture(scope="module")
def config(frame, tmp_path_factory):
    """Two files, the second with another type of the same ids."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "data").mkdir()
    table = to_arrow(frame)
    pq.write_table(table.slice(0, 1000), folder / "data" / "a.parquet")
    pq.write_table(table.slice(1000), folder / "data" / "b.parquet")
    return TableConfig(
        name="everything",
        storage_path=str(folder),
        data=str(folder / "data"),
        time="happened",
        label="outcome",
        label_time="label_known",
        cutoff="2021-08-01",
        rows_per_shard=1000,
        encoder=EncoderConfig(dim=32),
        columns=ColumnsConfig(categorical=["kind"], entity=["id"], score=["score"]),
    )


@pytest.fixture(scope="module")
def corpus(config, ray_cluster):
    """Made by Ray, as a job does."""
    return prepare_table(config)


@pytest.fixture(scope="module")
def lines(corpus, frame):
    """The line of each row of the corpus."""
    hashes = to_hashes(pa.chunked_array([frame["id"].to_numpy()]))
    order = np.argsort(hashes)
    return order[np.searchsorted(hashes[order], corpus.read("entities")[:, 0])]


@pytest.fixture(scope="module")
def encoder(corpus):
    return FeatureEncoder.load(corpus.uri)


def known_rows(frame, lines):
    """The rows of the frame in the order of the corpus, and which were known at the cutoff."""
    rows = frame.iloc[lines]
    return rows, (rows["label_known"] < pd.Timestamp("2021-08-01")).to_numpy()


def test_columns_are_taken_as_what_they_are(encoder):
    assert {role: encoder.of(role) for role in sorted(set(encoder.roles.values()))} == {
        "categorical": ["kind", "urgent", "region"],
        "embedding": ["fixed", "vector"],
        "entity": ["id", "user_id", "shop_id", "device"],
        "numeric": ["amount", "count", "signed", "fee"],
        "score": ["score"],
        "text": ["note"],
    }


def test_rows_with_a_label_are_there_once_in_the_order_in_which_it_was_known(corpus, frame, lines):
    has_label = frame["outcome"].notna()
    assert sorted(lines) == np.flatnonzero(has_label).tolist()
    rows = frame.iloc[lines]
    known = (rows["label_known"] - pd.Timestamp(0)) // pd.Timedelta("1ms")
    event = (rows["happened"] - pd.Timestamp(0)) // pd.Timedelta("1ms")
    np.testing.assert_array_equal(corpus.read("time"), known)
    np.testing.assert_array_equal(corpus.read("event_time"), event)
    order = np.lexsort([np.flatnonzero(has_label), frame["label_known"][has_label]])
    np.testing.assert_array_equal(lines, np.flatnonzero(has_label)[order])
    names = corpus.provenance["table"]["classes"]
    assert names == ["lost", "won"]
    assert [names[code] for code in corpus.read("label")] == rows["outcome"].tolist()
    assert corpus.provenance["skipped"] == {"no label": int((~has_label).sum())}
    assert corpus.provenance["table"]["num_unlabelled"] == int((~has_label).sum())


def test_numbers_are_the_quantiles_of_what_was_known(corpus, frame, lines, encoder):
    rows, known = known_rows(frame, lines)
    event = rows["happened"]
    expected = {
        "amount": rows["amount"].where(np.isfinite(rows["amount"])),
        "count": rows["count"],
        "signed": (pd.to_datetime(rows["signed"]) - event).dt.days,
        "fee": rows["fee"].astype(float),
    }
    assert encoder.numbers.flagged == ("amount",)
    numbers = corpus.read("numbers").astype(float)
    for place, (name, values) in enumerate(expected.items()):
        values = values.to_numpy(float)
        present = np.isfinite(values)
        assert (numbers[~present, place] == 0).all()
        order = np.argsort(values[present], kind="stable")
        assert (np.diff(numbers[present, place][order]) >= -1e-2).all(), name
        middle = np.median(values[known & present])
        below = numbers[known & (values < middle), place]
        assert (below <= 0.01).all(), name
        assert abs(np.median(numbers[known & present, place])) < 0.3, name
    np.testing.assert_array_equal(numbers[:, 4], ~np.isfinite(rows["amount"]))


def test_categories_are_ranked_by_what_was_known(corpus, frame, lines, encoder):
    rows, known = known_rows(frame, lines)
    codes = corpus.read("categories")
    for place, name in enumerate(encoder.of("categorical")):
        values = rows[name].map({True: "true", False: "false"}) if name == "urgent" else rows[name]
        values = values.where(values != "")
        counts = values[known].value_counts()
        ranked = sorted(counts.index, key=lambda value: (-counts[value], value))[:1000]
        expected = values.map({value: rank for rank, value in enumerate(ranked, 1)}).fillna(0)
        np.testing.assert_array_equal(codes[:, place], expected.astype(int))
    assert (codes[rows["kind"] == "new kind", 0] == 0).all(), "it is new after the cutoff"
    assert 700 < encoder.num_codes[0] <= 1001


def test_equal_ids_have_equal_hashes_and_only_they(corpus, frame, lines, encoder):
    rows, _ = known_rows(frame, lines)
    hashes = corpus.read("entities")
    for place, name in enumerate(encoder.of("entity")):
        codes, values = pd.factorize(rows[name])
        missing = codes < 0
        assert (hashes[missing, place] == 0).all()
        pairs = pd.DataFrame({"code": codes, "hash": hashes[:, place]})[~missing]
        assert len(pairs.drop_duplicates()) == len(values) == pairs["hash"].nunique()


def test_lists_and_scores_are_what_they_were(corpus, frame, lines):
    rows, _ = known_rows(frame, lines)
    embedding = corpus.read("embedding")
    vectors = np.stack(rows["vector"].to_list()).astype(np.float16)
    assert embedding.shape == (len(rows), 32 + 4 + 4)
    np.testing.assert_array_equal(embedding[:, 32:36], vectors)
    given = rows.index != 3
    np.testing.assert_array_equal(embedding[given, 36:], vectors[given])
    np.testing.assert_array_equal(embedding[~given, 36:], np.zeros((np.sum(~given), 4)))
    np.testing.assert_allclose(corpus.read("score")[:, 0], rows["score"], rtol=1e-6)
    lengths = np.linalg.norm(embedding[:, :32].astype(float), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-2)


def test_keys_are_finite_and_rows_of_one_user_are_near(corpus, frame, lines):
    keys = corpus.read("key").astype(np.float32)
    assert np.isfinite(keys).all()
    keys = keys[:, KeyTransform.of(corpus).parts["entity"]]
    same = frame["user_id"].to_numpy()[lines] == frame["user_id"].to_numpy()[lines[0]]
    same[0] = False
    distance = ((keys - keys[0]) ** 2).sum(axis=1)
    assert distance[same].mean() < 0.75 * distance[~same].mean()


def small(folder: Path, **columns) -> TableConfig:
    """A table of 200 rows, one a day, with such columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2020-01-01", periods=200),
            "label": rng.integers(0, 2, 200),
            "x": rng.normal(size=200),
        }
    )
    frame = frame.assign(**columns)
    frame.to_parquet(folder / "table.parquet")
    return TableConfig(
        name="small",
        storage_path=str(folder),
        data=str(folder / "table.parquet"),
        base=BaseConfig(num_folds=2),
        key=TableKeyConfig(dim=4),
    )


def fails(config: TableConfig, without_ray, capsys, job=prepare_table) -> str:
    """The one line that a job ends with."""
    with without_ray(), pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as found:
        patch.setattr("raclib.run.cli.parse", lambda *_: config)
        main(job, TableConfig, None)
    assert found.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


PROBABILITIES = np.random.default_rng(0).dirichlet([1, 1, 1], 200)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({}, {"time": "when"}, "time: no column is called 'when'; there are time, label, x"),
        ({}, {"data": None}, "data: no table is given; name its files with --data"),
        ({}, {"cutoff": "someday"}, "cutoff: 'someday' is not a date; write it as 2021-06-01"),
        ({}, {"cutoff": "2030-01-01"}, "cutoff: 2030-01-01: no row is from then on"),
        ({}, {"cutoff": "1999-01-01"}, "cutoff: 1999-01-01: before it labels of 0 classes"),
        ({"label": [0] * 199 + [1]}, {}, "cutoff: 0.4: before it labels of 1 class were known"),
        ({"label": [None] * 200}, {}, "label: no label at all, at least 2 classes are needed"),
        ({"label": np.linspace(0, 1, 200)}, {}, "label: numbers with fractions"),
        ({"time": ["soon"] * 200}, {}, "data: no row can be used: time that cannot be read (200)"),
        ({"time": range(200)}, {}, "time: numbers; give --time_unit (ns, us, ms, s, minute"),
        ({"time": range(1_600_000_000, 1_600_000_200)}, {}, "time: numbers that look like unit "),
        ({}, {"time_unit": "s", "time": "x", "label": "label"}, "x: numbers with fractions; give "),
        ({"_label": 1}, {}, "data: a column is called '_label', which is used here; rename it"),
        ({}, {"columns": ColumnsConfig(text=["x"])}, "columns.text: 'x' holds double, which can"),
        ({}, {"columns": ColumnsConfig(ignore=["x"])}, "columns: no column is left to learn from"),
        ({}, {"columns": ColumnsConfig(entity=["y"])}, "columns.entity: no column is called 'y'"),
        ({"x": [1.0] * 130 + [2.0] * 70}, {}, "columns: none varies before the cutoff"),
        (
            {"vector": [[1.0]] * 150 + [[1.0, 2.0]] * 50},
            {"columns": ColumnsConfig(embedding=["vector"])},
            "columns.embedding: 'vector' holds list<element: double> of different lengths",
        ),
        (
            {"time": ["2020-01-01"] * 100 + ["2021-01-01"] * 99 + ["never"]},
            {"strict": True},
            "row 199: time that cannot be read; mend it, or leave out --strict",
        ),
        (
            {"label": [0, 1] * 100, "copy": [0, 1] * 100},
            {"strict": True},
            "column 'copy' all but gives the label away: alone it has an AUROC of 1.000; if it is ",
        ),
        (
            {"p": PROBABILITIES[:, 0], "q": PROBABILITIES[:, 1], "r": PROBABILITIES[:, 2]},
            {"columns": ColumnsConfig(score=["p", "q", "r"]), "base": BaseConfig("column")},
            "score: has shape",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(columns, changes, message, without_ray, capsys, tmp_path):
    config = replace(small(tmp_path, **columns), **changes)
    job = prepare_table
    if config.base.kind == "column":

        def job(config):
            prepare_base(config, prepare_table(config))

    said = fails(config, without_ray, capsys, job)
    assert said.startswith(message)


def test_a_thousand_and_one_classes_are_one_clear_line(without_ray, capsys, tmp_path):
    frame = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=1001), "label": range(1001)})
    config = small(tmp_path)
    frame.assign(x=1.5).to_parquet(config.data)
    assert fails(config, without_ray, capsys).startswith("label: 1,001 classes already in the")


def test_a_table_without_rows_is_one_clear_line(without_ray, capsys, tmp_path):
    config = small(tmp_path)
    pd.read_parquet(config.data).iloc[:0].to_parquet(config.data)
    assert "table.parquet: no rows; give some" in fails(config, without_ray, capsys)


def test_columns_that_give_the_label_away_are_named(without_ray, tmp_path):
    label = np.random.default_rng(1).integers(0, 2, 200)
    config = small(tmp_path, label=label, state=np.where(label, "paid", "open"))
    with without_ray() as warnings:
        prepare_table(config)
    (warning,) = warnings
    assert warning.startswith("column 'state' all but gives the label away: alone it has an AUROC")
    assert warning.endswith("leave it out with --columns.ignore [state]")
    with without_ray(), pytest.raises(UserError, match="strict refuses it"):
        prepare_table(replace(config, strict=True))


def test_a_changed_table_is_told(without_ray, capsys, tmp_path):
    config = small(tmp_path)
    with without_ray():
        first = prepare_table(config)
        assert prepare_table(config).uri == first.uri
    frame = pd.read_parquet(config.data)
    frame.loc[7, "x"] = 1234.5
    frame.to_parquet(config.data)
    said = fails(config, without_ray, capsys)
    assert said.endswith(
        "table.parquet: data changed since corpus version 1 was made; give another --corpus, or "
        "append"
    )
    with without_ray():
        assert prepare_table(replace(config, data=None)).version == 1, "without its table it opens"


def test_other_columns_or_another_cutoff_are_another_corpus(without_ray, capsys, tmp_path):
    config = small(tmp_path)
    with without_ray():
        prepare_table(config)
    for changes in (
        {"columns": ColumnsConfig(categorical=["x"])},
        {"cutoff": "2020-03-01"},
        {"label_time": "time"},
    ):
        said = fails(replace(config, **changes), without_ray, capsys)
        assert said.endswith("or give another --name or --corpus")


def test_a_killed_run_continues_where_it_was(without_ray, monkeypatch, tmp_path):
    config = replace(small(tmp_path), rows_per_shard=50)
    with without_ray():
        expected = prepare_table(replace(config, name="whole"))
    run_shards, done = None, []

    def die_in_the_third(name, noun, work, stage, staging, layout, **options):
        def counted(batch):
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append((stage, int(batch["shard"][0])))
            return work(batch)

        return run_shards(name, noun, counted, stage, staging, layout, **options)

    with without_ray(), pytest.MonkeyPatch.context() as patch:
        run_shards = prepare._run_shards
        patch.setattr(prepare, "_run_shards", die_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            prepare_table(config)
    assert len(list(Path(f"{config.corpus_uri}.staging").glob("encoded-*.json"))) == 2
    again = []
    with without_ray(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("raclib.ingest.prepare.sort_rows", None)  # rows are sorted already
        write = prepare.ShardEncoder.encode_shard

        def watch(self, shard):
            again.append(shard)
            return write(self, shard)

        patch.setattr(prepare.ShardEncoder, "encode_shard", watch)
        found = prepare_table(config)
    assert again == [2, 3]
    assert not Path(f"{config.corpus_uri}.staging").exists()
    for name in expected.fields:
        np.testing.assert_array_equal(found.read(name), expected.read(name))


def test_an_unfinished_corpus_of_another_table_is_refused(without_ray, capsys, tmp_path):
    config = replace(small(tmp_path), rows_per_shard=50)
    with without_ray(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("raclib.ingest.prepare.read_sample", None)
        with pytest.raises(TypeError):
            prepare_table(config)
    said = fails(replace(config, cutoff="2020-03-01"), without_ray, capsys)
    assert "an unfinished corpus made with cutoff = 0.4, this run needs 2020-03-01" in said


def test_the_base_is_found_again_and_kept_with_the_corpus(without_ray, monkeypatch, tmp_path):
    config = small(tmp_path)
    with without_ray():
        corpus, base = prepare_base(config, prepare_table(config))
        monkeypatch.setattr("raclib.ingest.base_scores.out_of_fold", None)
        again, loaded = prepare_base(config, prepare_table(config))
    assert again.version == corpus.version == 3  # with the scores, with keys that know them
    rows = np.arange(len(corpus))
    np.testing.assert_array_equal(base.probabilities(rows), loaded.probabilities(rows))
    np.testing.assert_allclose(
        np.exp(corpus.read("base").astype(float)), base.probabilities(rows), atol=2e-3
    )
    assert open_corpus(config.corpus_uri).fields["base"].shape == (2,)


def test_a_perceiver_as_base_leaves_the_corpus_as_it_is(without_ray, tmp_path):
    key = TableKeyConfig(dim=4, base_weight=0.0)
    config = replace(small(tmp_path), base=BaseConfig("perceiver"), reader="perceiver", key=key)
    with without_ray():
        corpus, base = prepare_base(config, prepare_table(config))
    assert base is None
    assert corpus.version == 1
    assert "base" not in corpus.fields
