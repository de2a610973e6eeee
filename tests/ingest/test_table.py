"""A table as a source of rows, and what encodes them."""

import datetime as dt

import pandas as pd
import pytest

from raclib.errors import UserError
from raclib.ingest.embedding import LINE
from raclib.ingest.files import TableFiles
from raclib.ingest.labels import ClassIndex
from raclib.ingest.numbers import ROW_TIME
from raclib.ingest.table import KNOWN, LABEL, OWN, TableSource, look
from raclib.ingest.tally import Tally
from raclib.ingest.timeline import Roles

DAY = 86_400_000
ROLES = Roles("time", "label", "decided", time_unit="day")


@pytest.fixture
def files(tmp_path):
    """Two files of three rows, of which two cannot be retrieved."""
    rows = pd.DataFrame(
        {
            "time": pd.array([5, 3, None, 4, 1, 2], "Int64"),
            "label": ["no", "yes", "no", None, "yes", "no"],
            "decided": [dt.date(1970, 1, day) for day in (9, 2, 9, 9, 3, 4)],
            "x": [10, 11, 12, 13, 14, 15],
            "y": list("abcdef"),
        }
    )
    for number in range(2):
        part = rows.iloc[3 * number : 3 * number + 3]
        part.to_parquet(tmp_path / f"{number}.parquet", index=False)
    return TableFiles.find(tmp_path)


def source(files, **changes) -> TableSource:
    given = {"columns": ("y",), "classes": ClassIndex(("no", "yes")), "strict": False, **changes}
    return TableSource(files, ROLES, **given)


def test_rows_that_can_be_retrieved_come_with_times_label_and_line(files):
    tally = Tally()
    rows = pd.concat([part.to_pandas() for part in source(files).batches(tally)])
    assert rows.columns.tolist() == [*OWN, "y"]
    assert rows[LINE].tolist() == [0, 1, 4, 5]
    assert (rows[ROW_TIME] // DAY).tolist() == [5, 3, 1, 2]
    assert (rows[KNOWN] // DAY).tolist() == [8, 3, 2, 3], "an early label counts as of its row"
    assert rows[LABEL].tolist() == [0, 1, 1, 0]
    assert rows["y"].tolist() == ["a", "b", "e", "f"]
    assert (tally.num_lines, tally.num_rows) == (6, 4)
    assert tally.skipped == {"time that cannot be read": 1, "no label": 1}


def test_strict_names_the_row_whose_time_cannot_be_read(files):
    with pytest.raises(UserError, match="row 2: time that cannot be read; mend it, or leave out"):
        list(source(files, strict=True).batches(Tally()))


def test_looking_tells_columns_and_all_times(files):
    surveys, timeline = look(files, ROLES)
    assert list(surveys) == ["time", "label", "decided", "x", "y"]
    assert surveys["time"].num_missing == 1
    assert timeline.classes.names == ("no", "yes")
    assert timeline.label.tolist() == [0, 1, 1, 0]
    assert timeline.num_early == 1
    assert timeline.skipped == {"time that cannot be read": 1, "no label": 1}


@pytest.mark.parametrize("name", [KNOWN, LABEL, ROW_TIME, LINE])
def test_names_that_are_used_here_are_one_line(tmp_path, name):
    table = pd.DataFrame({"time": [1, 2], "label": [0, 1], "decided": [1, 2], name: [1, 2]})
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=f"data: a column is called '{name}', which is used here"):
        look(TableFiles.find(tmp_path), ROLES)


def test_a_table_without_rows_is_one_line(tmp_path):
    table = pd.DataFrame({"time": [1], "label": [0], "decided": [1]}).iloc[:0]
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: no rows; give some"):
        look(TableFiles.find(tmp_path), ROLES)


def test_two_columns_of_one_name_are_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("time,label,decided,x,x\n1,0,1,2,3\n")
    with pytest.raises(UserError, match="two columns are called 'x'; rename one"):
        look(TableFiles.find(tmp_path), ROLES)
