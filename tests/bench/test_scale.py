"""The generated table is what it says, and the cost of phases is kept and compared."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclib.bench import scale
from raclib.bench.scale import make_piece, rows_of, write_table
from raclib.bench.scale_table import Size, phase_table
from raclib.bench.usage import KeptMeter, Usage, read_phases


def milliseconds(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy().astype("datetime64[ms]").astype(np.int64)


def test_the_time_of_a_label_tells_the_row(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "PIECE_ROWS", 400)
    write_table(tmp_path / "t.parquet", 1900)
    table = pq.read_table(tmp_path / "t.parquet")
    time, known = milliseconds(table, "time"), milliseconds(table, "label_time")
    assert (known >= time).all() and (known > time).mean() > 0.9
    rows = rows_of(known)
    assert np.sort(rows).tolist() == list(range(1900)) != rows.tolist()
    np.testing.assert_array_equal(time, scale.START_MS + rows * scale.STEP_MS)
    # A piece is the same whenever it is made.
    ordered = table.take(pa.array(np.argsort(rows)))
    assert ordered.slice(400, 400).equals(make_piece(1900, 1))
    assert len(table.columns) == 16 + 5


def test_the_rule_turns():
    table = make_piece(50_000, 0)
    number, label = table["number_0"].to_numpy(), table["label"].to_numpy()
    early, middle = slice(5000), slice(14_000, 19_000)  # a third of one and a half turns is half
    assert np.corrcoef(number[early], label[early])[0, 1] > 0.3
    assert np.corrcoef(number[middle], label[middle])[0, 1] < -0.3


def test_phases_are_kept_and_the_first_measure_of_one_stays(tmp_path):
    file = tmp_path / "phases.json"
    with pytest.raises(KeyboardInterrupt), KeptMeter("first", file) as meter:
        time.sleep(0.2)
        meter.begin("cut")
        meter._keep(["first"])
        raise KeyboardInterrupt
    first = read_phases(file)["first"]
    assert first.seconds >= 0.2
    with KeptMeter("first", file) as meter:
        meter.begin("last")
    kept = read_phases(file)
    assert kept["first"] == first and list(kept) == ["first", "cut", "last"]


def test_phases_are_compared_with_a_smaller_size():
    smaller = Size(1000, {"a": Usage(1.0, 2.0, driver_own_mb=100.0), "b": Usage(1.0, 1.0)})
    here = Size(4000, {"a": Usage(8.0, 8.0, driver_own_mb=100.06), "b": Usage(16.0, 16.0)})
    table = phase_table(here, {"b": 32}, smaller).set_index("phase")
    assert table["exponent"].tolist() == pytest.approx([1, 2, np.log(8) / np.log(4)])
    assert table["rows_per_s"].tolist() == pytest.approx([500, 2, 4000 / 24])
    assert table["driver_bytes_per_row"]["a"] == pytest.approx(20)
    assert table["seconds"]["all"] == 24 and table["driver_own_mb"]["all"] == 100.06
    assert "exponent" not in phase_table(here, {}, None)
