import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from raclib.corpus.tables import export_table, import_tables
from raclib.errors import UserError


def make_table(times, **columns) -> pa.Table:
    return pa.table({"time": pa.array(times, pa.int64()), **columns})


def test_round_trip(corpus, rows, tmp_path):
    path = str(tmp_path / "t.parquet")
    export_table(corpus, path)
    again = import_tables([path], str(tmp_path / "again"), rows_per_shard=999)
    assert again.fields == corpus.fields
    assert len(again.shards) == 6
    for name, array in rows.items():
        assert again.read(name).tobytes() == array.tobytes()


def test_arrow_timestamps_and_several_tables(tmp_path):
    uri, paths = str(tmp_path / "c"), [str(tmp_path / f"{index}.arrow") for index in range(3)]
    for index, path in enumerate(paths):
        when = pa.array([index * 10**9], pa.timestamp("us"))
        vector = pa.array([[index, 1]], pa.list_(pa.float32(), 2))
        table = pa.table({"when": when, "vector": vector})
        pyarrow.feather.write_feather(table, path)
    import_tables(paths[:2], uri, time_column="when", provenance={"made": "so"})
    corpus = import_tables(paths[2:], uri, time_column="when", mode="append")
    assert corpus.version == 2
    assert corpus.provenance == {"made": "so"}
    assert corpus.read("time").tolist() == [0, 10**6, 2 * 10**6]
    np.testing.assert_array_equal(corpus.read("vector"), [[0, 1], [1, 1], [2, 1]])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", "b"]), "column 'x': string cannot be stored"),
        (pa.array([[1], [2, 3]]), "column 'x': list<.*> cannot be stored"),
        (pa.array([1, None]), "column 'x': has 1 nulls"),
        (pa.array([[1, None], [2, 3]], pa.list_(pa.int8(), 2)), "column 'x': has 1 nulls"),
    ],
)
def test_columns_that_cannot_be(tmp_path, column, said):
    path = str(tmp_path / "t.parquet")
    pq.write_table(make_table([1, 2], x=column), path)
    with pytest.raises(UserError, match=said):
        import_tables([path], str(tmp_path / "c"))


def test_tables_that_cannot_be(tmp_path):
    uri, path = str(tmp_path / "c"), str(tmp_path / "t.parquet")
    other = str(tmp_path / "o.parquet")
    pq.write_table(make_table([2, 1]), path)
    pq.write_table(make_table([3], x=pa.array([1])), other)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    for tables, said in [
        ([path], "time: 1 comes after 2"),
        ([other, path], "its columns differ"),
        ([str(tmp_path / "none.parquet")], "none.parquet: missing"),
        ([str(tmp_path / "broken.parquet")], "cannot be read"),
        (["t.csv"], "give a .parquet"),
        ([], "none given"),
    ]:
        with pytest.raises(UserError, match=said):
            import_tables(tables, uri)
    with pytest.raises(UserError, match="has no column 'when'; it has time"):
        import_tables([path], uri, time_column="when")
