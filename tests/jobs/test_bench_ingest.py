"""The benchmark of preparing a table, at sizes that say nothing about speed."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclib.bench.ingest import write_table

JOB = Path(__file__).parents[2] / "jobs" / "bench_ingest.py"
PHASES = ["looking at columns", "reading and sorting", "fitting", "encoding", "keys"]


def run(folder, *args):
    command = [sys.executable, str(JOB), "--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    return subprocess.run([*command, *args], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_every_phase_is_measured_and_logged(tmp_path):
    sizes = ["--num_rows", "3000", "--num_columns", "25", "--rows_per_shard", "2000"]
    done = run(tmp_path, *sizes, "--folder", "bench")
    assert done.returncode == 0, done.stderr
    # The table is there for a later run; the corpus is not.
    assert [path.name for path in (tmp_path / "bench").iterdir()] == ["table-3000x25.parquet"]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED" and logged.data.params["num_rows"] == "3000"
    folder = Path(client.download_artifacts(logged.info.run_id, "", str(tmp_path)))
    assert (folder / "ingest.png").stat().st_size > 5_000
    table = pd.read_csv(folder / "ingest.csv").set_index("phase")
    assert list(table.index) == [*PHASES, "all", "bare work"]
    assert (table.seconds > 0).all() and (table.loc["all"].drop("servers_mb") > 0).all()
    assert table.seconds["all"] == pytest.approx(table.seconds[PHASES].sum())
    assert table.total_mb["all"] == table.total_mb[PHASES].max()
    assert table.rows_per_s["all"] == pytest.approx(3000 / table.seconds["all"])
    metrics = logged.data.metrics
    ratio = table.seconds["all"] / table.seconds["bare work"]
    assert metrics["ratio"] == pytest.approx(ratio)
    assert metrics["encoding/seconds"] == pytest.approx(table.seconds["encoding"])
    # label int16, two times of int64, 20 half floats at least.
    assert metrics["bytes_per_row"] > 2 + 16 + 40


def test_the_table_is_written_in_pieces_and_has_every_kind(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, 60_000, 100)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(n).num_rows for n in range(2)] == [50_000, 10_000]
    kinds = file.schema_arrow.types
    assert kinds.count(pa.float64()) == 80 and kinds.count(pa.string()) == 15
    assert kinds.count(pa.int64()) == 4 and kinds.count(pa.timestamp("ms")) == 3
    table = file.read(["time", "label_time", "number_0", "number_1"]).to_pandas()
    assert (table.label_time >= table.time).all() and not table.time.is_monotonic_increasing
    assert table.number_0.isna().mean() == pytest.approx(0.1, abs=0.02)
    assert not table.number_1.isna().any()


def test_a_table_too_narrow_is_refused(tmp_path):
    done = run(tmp_path, "--num_columns", "7")
    assert done.returncode == 2
    assert "num_columns: 7; give at least 25" in done.stderr.splitlines()[-1]
