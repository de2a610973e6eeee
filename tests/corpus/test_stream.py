"""Files of a store that are read in pieces: what passes is waited out once, said, and no longer."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from pyarrow.fs import FileSelector

from raclib.corpus.stream import StoreFile, open_stream
from raclib.corpus.tables import import_tables
from raclib.errors import PassingError
from raclib.ingest.files import TableFiles
from raclib.ingest.find import find_files
from raclib.ingest.identity import describe_file
from raclib.run.arrow_storage import arrow_storage

DOWN_S = 0.5
TABLE = pa.table({"time": np.arange(5000), "x": np.arange(5000.0)})


@pytest.fixture(scope="module")
def table(bucket, tmp_path_factory):
    """A table in the bucket, as Parquet and as CSV."""
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    pq.write_table(TABLE, path, row_group_size=1000)
    fs = s3fs.S3FileSystem()
    fs.put_file(str(path), f"{bucket}/rows/t.parquet")
    fs.pipe_file(f"{bucket}/rows/t.csv", TABLE.to_pandas().to_csv(index=False).encode())
    return f"{bucket}/rows/t"


def read_all(uri: str) -> bytes:
    with open_stream(uri) as file:
        return file.read()


def list_there(uri: str) -> list:
    filesystem, path = arrow_storage(uri)
    return filesystem.get_file_info(FileSelector(path))


def read_there(uri: str) -> bytes:
    filesystem, path = arrow_storage(uri)
    with filesystem.open_input_stream(path) as file:
        return file.read()


READS = {
    "find": lambda table: find_files(table.removesuffix("/t")),
    "glob": lambda table: find_files(f"{table}.*"),
    "identity": lambda table: describe_file(f"{table}.csv", ""),
    "csv": lambda table: list(TableFiles((f"{table}.csv",)).batches()),
    "parquet": lambda table: list(TableFiles((f"{table}.parquet",)).batches()),
    "sorted rows": lambda table: read_all(f"{table}.parquet"),
    "import": lambda table: import_tables([f"{table}.parquet"], f"{table}-c"),
    "Ray lists": lambda table: list_there(table.removesuffix("/t")),
    "Ray reads": lambda table: read_there(f"{table}.parquet"),
}


@pytest.mark.parametrize("read", READS)
def test_a_store_that_is_down_is_waited_for(table, proxy, read):
    proxy.stop_for(DOWN_S)
    READS[read](table)


@pytest.fixture
def hasty(monkeypatch):
    """What passes is waited out for a moment only; what is said is printed."""
    monkeypatch.setattr("raclib.corpus.retry.RETRY_S", 0.3)
    monkeypatch.setattr("raclib.corpus.retry.QUIET_S", 0.0)
    monkeypatch.setattr("raclib.corpus.retry._say", print)


@pytest.mark.parametrize("read", READS)
def test_a_store_that_refuses_is_asked_by_us_alone(table, proxy, hasty, capsys, read):
    """Not by three libraries, each of which asks five times what another asks five times."""
    proxy.fault = lambda method, path: "503"
    with pytest.raises((PassingError, OSError)):
        READS[read](table)
    asked = [request[:2] for request in proxy.requests]
    said = capsys.readouterr().out.splitlines()
    assert 1 <= len(asked) == len(said) + 1 < 20
    assert all("tried again for up to" in line for line in said)


def test_pieces_are_the_bytes_that_were_written(table, monkeypatch):
    monkeypatch.setattr("raclib.corpus.stream.BLOCK_BYTES", 10_000)
    whole = read_all(f"{table}.parquet")
    fs = s3fs.S3FileSystem()
    assert whole == fs.cat_file(f"{table}.parquet")
    for is_sequential in (True, False):
        with StoreFile(fs, f"{table}.parquet".removeprefix("s3://"), is_sequential) as file:
            assert b"".join(iter(lambda file=file: file.read(7777), b"")) == whole
            file.seek(-9, 2)
            assert file.read() == whole[-9:]
