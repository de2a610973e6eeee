"""Any table file gives the same rows, whatever its format and wherever it is."""

import bz2
import datetime as dt
import gzip
import http.server
import json
import pickle
import re
import threading
import tracemalloc
from base64 import b64encode
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from raclib.errors import UserError
from raclib.ingest import text
from raclib.ingest.files import TableFiles
from raclib.ingest.identity import describe_file

NUM_ROWS = 3000
AWKWARD = ["a b", "a#b", "a%20b", "a?b", "a[b]c", "a*b", "ä-Ωя", "a::b", "x:y"]


@pytest.fixture(scope="session")
def table():
    """Columns that every format can hold; values that begin as less than they are."""
    rng = np.random.default_rng(0)
    number = [None if i % 7 == 0 else float(i) + (0.5 if i > 2000 else 0) for i in range(NUM_ROWS)]
    return pa.table(
        {
            "time": [dt.datetime(2011, 1, 1) + dt.timedelta(minutes=i) for i in range(NUM_ROWS)],
            "label": rng.integers(0, 3, NUM_ROWS),
            "number": number,
            "late": pa.array([None if i < 2500 else i for i in range(NUM_ROWS)], pa.int64()),
            "flag": rng.integers(0, 2, NUM_ROWS).astype(bool),
            "text": [f'line "{i}",\n ü;{"" if i % 3 else "NA"}' for i in range(NUM_ROWS)],
            "kind": [["", "NA", "b"][i % 3] for i in range(NUM_ROWS)],
        }
    ).cast(
        pa.schema(
            {
                "time": pa.timestamp("s"),
                "label": pa.int64(),
                "number": pa.float64(),
                "late": pa.int64(),
                "flag": pa.bool_(),
                "text": pa.string(),
                "kind": pa.string(),
            }
        )
    )


def _parquet(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=700)
    return sink.getvalue().to_pybytes()


def _csv(table, delimiter=","):
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(table, sink, pa.csv.WriteOptions(delimiter=delimiter))
    return sink.getvalue().to_pybytes()


def _jsonl(table):
    rows = table.set_column(0, "time", table["time"].cast(pa.string())).to_pylist()
    rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _feather(table):
    sink = pa.BufferOutputStream()
    pa.feather.write_feather(table, sink, chunksize=900)
    return sink.getvalue().to_pybytes()


def _stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, 900)
    return sink.getvalue().to_pybytes()


PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
TEXT = {".csv": _csv, ".tsv": partial(_csv, delimiter="\t"), ".jsonl": _jsonl}
BINARY = {".parquet": _parquet, ".feather": _feather, ".arrows": _stream}
FORMATS = {**{e + p: (w, PACK[p]) for e, w in TEXT.items() for p in PACK}} | {
    e: (w, bytes) for e, w in BINARY.items()
}


def _write(path, table):
    """Writes a table as the ending says."""
    write, pack = FORMATS["".join(path.suffixes[-2:] if path.suffix in PACK else path.suffix)]
    path.write_bytes(pack(write(table)))
    return path


def _read(*inputs, **options):
    files = TableFiles.find([*map(str, inputs)])
    batches = list(files.batches(**options))
    schema = files.schema()
    if options.get("columns"):
        schema = pa.schema([schema.field(name) for name in options["columns"]])
    assert all(batch.schema == schema for batch in batches)
    return pa.Table.from_batches(batches)


def _error(*inputs, columns=None):
    with pytest.raises(UserError) as caught:
        list(TableFiles.find([*map(str, inputs)]).batches(columns))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert "secret" not in message
    return message


@pytest.fixture
def small_blocks(monkeypatch):
    """Text is parsed in so many blocks that the first holds fewer types than the file."""
    for module in ("csv_reader", "json_reader"):
        monkeypatch.setattr(f"raclib.ingest.{module}.BLOCK_BYTES", 20_000)
    assert text.BLOCK_BYTES > 20_000


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_rows(table, tmp_path, ending, small_blocks):
    path = _write(tmp_path / f"t{ending}", table)
    found = _read(path)
    # JSON lines leave out what is missing, so that columns appear late; Parquet has no seconds.
    assert sorted(found.column_names) == sorted(table.column_names)
    assert pa.types.is_timestamp(found.schema.field("time").type)
    assert found.select(table.column_names).cast(table.schema).equals(table)
    assert {name: found.schema.field(name).type for name in table.column_names[1:]} == {
        field.name: field.type for field in list(table.schema)[1:]
    }


@pytest.mark.parametrize("ending", FORMATS)
def test_what_a_file_is_is_seen_without_an_ending(table, tmp_path, ending):
    path = _write(tmp_path / f"t{ending}", table)
    found = _read(path.rename(tmp_path / "t"))
    assert found.select(table.column_names).cast(table.schema).equals(table)


@pytest.mark.parametrize(
    ("ending", "lie"),
    [(".parquet", ".csv"), (".csv.gz", ".csv"), (".jsonl", ".csv"), (".csv", ".csv.gz")],
)
def test_an_ending_may_lie(table, tmp_path, ending, lie):
    path = _write(tmp_path / f"t{ending}", table)
    assert _read(path.rename(tmp_path / f"u{lie}")).num_rows == NUM_ROWS


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl.gz", ".feather", ".arrows"])
def test_columns_are_chosen_and_ordered(table, tmp_path, ending):
    path = _write(tmp_path / f"t{ending}", table)
    found = _read(path, columns=["kind", "label"], batch_rows=100)
    assert found.equals(table.select(["kind", "label"]))
    assert max(map(len, found["kind"].chunks)) <= 100


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("ending", [".parquet", ".csv.gz", ".feather"])
def test_awkward_names(table, tmp_path, name, ending):
    folder = tmp_path / name
    folder.mkdir()
    path = _write(folder / f"{name}{ending}", table)
    assert _read(path)["label"].equals(table["label"])
    assert _read(folder)["label"].equals(table["label"])
    assert describe_file(str(path), str(tmp_path / "kept"))["name"] == path.name


def test_paths_do_not_depend_on_the_working_directory(table, tmp_path, monkeypatch):
    _write(tmp_path / "t.csv", table)
    monkeypatch.chdir(tmp_path)
    files = TableFiles.find("t.csv")
    assert (
        files == TableFiles.find(tmp_path / "t.csv") == TableFiles.find(f"file://{tmp_path}/t.csv")
    )


def test_folders_and_globs_are_read_by_name(table, tmp_path):
    (tmp_path / "sub").mkdir()
    parts = {"b.csv": (0, 100), "a.parquet": (100, 300), "sub/c.jsonl": (300, 350)}
    for name, (lo, hi) in parts.items():
        _write(tmp_path / name, table.slice(lo, hi - lo))
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden").write_text("x")
    labels = [table["label"].slice(lo, hi - lo) for lo, hi in ((100, 300), (0, 100), (300, 350))]
    assert (
        _read(tmp_path)["label"].to_pylist()
        == pa.chunked_array(chunk for label in labels for chunk in label.chunks).to_pylist()
    )
    assert _read(tmp_path / "*.*s*")["label"].to_pylist() == labels[1].to_pylist()
    assert _read(tmp_path / "**" / "*.jsonl")["label"].to_pylist() == labels[2].to_pylist()
    given = _read(tmp_path / "b.csv", tmp_path / "a.parquet")["label"].to_pylist()
    assert given == labels[1].to_pylist() + labels[0].to_pylist()


def _tables(tmp_path, *tables):
    return [
        _write(tmp_path / f"{i}.parquet", pa.table(columns)) for i, columns in enumerate(tables)
    ]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (pa.array([1], pa.int8()), pa.array([2], pa.uint32()), pa.int64()),
        (pa.array([1], pa.int32()), pa.array([2.5], pa.float32()), pa.float64()),
        (pa.nulls(1), pa.array([[1.0]], pa.list_(pa.float32())), pa.list_(pa.float32())),
        (pa.array(["a"], pa.large_string()), pa.array(["b"]).dictionary_encode(), pa.string()),
        (
            pa.array([1], pa.date32()),
            pa.array([2], pa.timestamp("us", "Europe/Berlin")),
            pa.timestamp("us", "UTC"),
        ),
        (
            pa.array([1], pa.timestamp("s")),
            pa.array([2], pa.timestamp("ns")),
            pa.timestamp("ns"),
        ),
        (
            pa.array([{"x": 1}]),
            pa.array([{"y": "z"}]),
            pa.struct({"x": pa.int64(), "y": pa.string()}),
        ),
        (pa.array([2**64 - 1], pa.uint64()), pa.nulls(1), pa.uint64()),
    ],
)
def test_files_are_brought_to_one_schema(tmp_path, one, other, wanted):
    found = _read(*_tables(tmp_path, {"a": one}, {"a": other, "b": [5]}))
    assert found.schema == pa.schema({"a": wanted, "b": pa.int64()})
    assert found["b"].to_pylist() == [None, 5]
    assert [found["a"].combine_chunks().slice(i, 1).cast(wanted) for i in (0, 1)] == [
        (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).cast(wanted)
        for column in (one, other)
    ]


def test_nested_types_stay(tmp_path):
    columns = {
        "list": pa.array([[1.0, 2.0], None], pa.list_(pa.float32())),
        "fixed": pa.array([[1.0, 2.0], [3, 4]], pa.list_(pa.float16(), 2)),
        "lists": pa.array([[[1]], []], pa.list_(pa.list_(pa.int32()))),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        "struct": pa.array([{"a.b": 1}, None]),
        "struct.a.b": [1, 2],
        "decimal": pa.array([1, 2], pa.decimal128(9, 2)),
    }
    (path,) = _tables(tmp_path, columns)
    found = _read(path)
    assert found.equals(pa.table(columns))
    assert _read(path, columns=["struct"])["struct"].to_pylist() == [{"a.b": 1}, None]


def test_large_integers_never_become_other_numbers(tmp_path):
    paths = _tables(tmp_path, {"a": [2**60 + 1]}, {"a": [0.5]})
    assert "column 'a'" in _error(*paths)


def test_csv_decides_by_all_rows(tmp_path, small_blocks):
    rows = 6000
    path = tmp_path / "t.csv"
    lines = (
        f"{i if i < 5000 else i + 0.5},{'' if i < 5000 else 7},{'1' if i < 5999 else 'x'},"
        f"{'' if i < 5000 else '2011-01-01'}"
        for i in range(rows)
    )
    path.write_text("float,int,text,date\n" + "\n".join(lines))
    found = _read(path)
    assert found.schema.types == [pa.float64(), pa.int64(), pa.string(), pa.date32()]
    assert found["float"][5500].as_py() == 5500.5
    assert found["int"].null_count == 5000


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_may_have_a_byte_order_mark_and_other_delimiters(tmp_path, delimiter):
    path = tmp_path / "t.csv"
    path.write_text("\ufeff" + 'a,b\r\n1,"x y"\r\nNA,NA\r\n'.replace(",", delimiter), newline="")
    assert _read(path).to_pydict() == {"a": [1, None], "b": ["x y", "NA"]}


def test_ids_too_long_for_a_number_keep_their_digits(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n12345678901234567890,1e300\n5,0.5\n")
    assert _read(tmp_path).to_pydict() == {"a": ["12345678901234567890", "5"], "b": [1e300, 0.5]}


def test_empty_strings_stay_where_another_file_has_strings(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n,1\n")
    (tmp_path / "b.csv").write_text("a,b\nx,2\n")
    assert _read(tmp_path)["a"].to_pylist() == ["", "x"]


def test_json_decides_by_all_rows(tmp_path, small_blocks):
    path = tmp_path / "t.jsonl"
    rows = [
        {"n": i, "when": "2011-01-01", **({"late": [0.5]} if i == 5000 else {"list": []})}
        for i in range(6000)
    ]
    rows[5999] |= {"n": 0.5, "when": "never", "list": [1]}
    path.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)))
    found = _read(path)
    assert found["n"].to_pylist() == [row["n"] for row in rows]
    assert found["when"].to_pylist() == [row["when"] for row in rows]
    assert found["late"].null_count == 5999
    assert found["list"].to_pylist()[-1] == [1]


def test_memory_stays_bounded(tmp_path):
    """One row group of 200 MB is read without holding it."""
    path = tmp_path / "t.parquet"
    block = pa.table({"a": np.random.default_rng(0).random(2**20)})
    with pq.ParquetWriter(path, block.schema, compression="none") as writer:
        writer.write_table(pa.concat_tables([block] * 24), row_group_size=2**40)
    before, most = pa.total_allocated_bytes(), 0
    # What Arrow asks a Python file for is on Python's heap.
    tracemalloc.start()
    for _ in TableFiles.find(path).batches():
        most = max(most, pa.total_allocated_bytes() - before)
    most += tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40e6


def test_a_reader_may_stop_early(table, tmp_path):
    for ending in FORMATS:
        next(TableFiles.find(_write(tmp_path / f"t{ending}", table)).batches(batch_rows=10))


def test_files_are_picklable_and_keep_their_schema(table, tmp_path):
    path = _write(tmp_path / "t.csv", table)
    files = TableFiles.find(path)
    schema = files.schema()
    copy = pickle.loads(pickle.dumps(files))
    path.unlink()
    assert copy == files and copy.schema() == schema


def test_description_says_what_was_read(table, tmp_path):
    path = _write(tmp_path / "t.csv", table)
    before = describe_file(str(path), str(tmp_path / "kept"))
    assert before["name"] == "t.csv" and before["num_bytes"] == path.stat().st_size
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"7\n")
    after = describe_file(str(path), str(tmp_path / "kept"))
    assert after["num_bytes"] == before["num_bytes"] and after != before
    assert str(tmp_path) not in json.dumps(after)


MISTAKES = {
    "empty.csv": (b"", "empty file"),
    "header.csv": (b"a,b\n", "no rows"),
    "blank.csv": (b"\n\n", "no row"),
    "lfs.parquet": (b"version https://git-lfs.github.com/spec/v1\noid secret", "Git LFS pointer"),
    "page.csv": (b"\n<!DOCTYPE html><html>secret</html>", "HTML page"),
    "doc.csv": (b"<?xml version='1.0'?><secret/>", "XML"),
    "book.xlsx": (b"PK\x03\x04....xl/workbook.xml", "Excel workbook"),
    "book.xls": (b"\xd0\xcf\x11\xe0secret", "old Excel"),
    "t.zip": (b"PK\x03\x04....t.csv", "zip archive"),
    "wide.csv": ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    "t.pkl": (b"\x80\x04\x95", "pickle"),
    "t.db": (b"SQLite format 3\x00", "SQLite"),
    "noise": (b"\x00\x01secret", "binary data"),
    "prose": (b"secret words\nand more", "unknown format"),
    "array.json": (b'[{"a": "secret"}]', "one JSON array"),
    "text.parquet": (b"a,secret\n1,2\n", "text, and no parquet"),
    "cut.parquet": (b"PAR1secretsecretsecret", "damaged Parquet"),
    "cut.feather": (b"ARROW1\x00\x00secretsecret", "damaged Arrow"),
    "cut.arrows": (b"\xff\xff\xff\xffsecretsecret", "damaged Arrow"),
    "ragged.csv": (b"a,b\n1,2\n3,secret,4\n", "3 columns instead of 2"),
    "twice.csv": (b"a,b,a\n1,2,3\n", "two columns are called 'a'"),
    "latin.csv": ("a,b\n1,secret \xfc\n".encode("latin-1"), "column 'b' is not UTF-8"),
    "head.csv": ("a,\xfc\n1,2\n".encode("latin-1"), "not UTF-8"),
    "latin.jsonl": ('{"a": "secret \xfc"}\n'.encode("latin-1"), "not UTF-8"),
    "mixed.jsonl": (b'{"a": 1}\n{"a": "secret"}\n', "row 2: column 'a' changes from number"),
    "broken.jsonl": (b'{"a": 1}\n{"a": secret}\n', "row 2 is not valid JSON"),
    "cut.jsonl": (b'{"a": 1}\n{"a": "secr', "row 2 is not valid JSON"),
    "number.jsonl": (b'{"a": 1}\n5\n', "row 2 is of type number"),
    "twice.jsonl": (b'{"a": 1, "a": "secret"}\n', "two values are called 'a'"),
    "t.parquet.gz": (gzip.compress(b"PAR1secret"), "Parquet inside gzip"),
    "nothing.csv.gz": (gzip.compress(b""), "nothing inside the gzip"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_clear_line(tmp_path, name):
    data, wanted = MISTAKES[name]
    (tmp_path / name).write_bytes(data)
    message = _error(tmp_path / name)
    assert wanted in message and name in message


def test_a_quotation_mark_that_is_not_closed(tmp_path, small_blocks):
    (tmp_path / "t.csv").write_text('a,b\n1,"' + "secret\n" * 10_000)
    assert "quotation mark" in _error(tmp_path / "t.csv")


# Others carry no checksum.
FLIPPED = [".parquet", *(e for e in FORMATS if e.endswith((".gz", ".bz2")))]
CUT = [e for e in FORMATS if e.count(".") == 2 or e in BINARY]


@pytest.mark.parametrize(
    ("damage", "ending"), [("cut", e) for e in CUT] + [("flip", e) for e in FLIPPED]
)
def test_damage_is_found(table, tmp_path, ending, damage):
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pq.write_table(table, path, write_page_checksum=True)
    else:
        _write(path, table)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 0x55
    path.write_bytes(data if damage == "flip" else data[: -len(data) // 4])
    assert re.search("truncated|damaged", _error(path))


@pytest.mark.parametrize("ending", [".csv.gz", ".jsonl.gz"])
def test_bytes_after_gzip_are_told_once(table, tmp_path, ending, capsys):
    path = _write(tmp_path / f"t{ending}", table)
    path.write_bytes(path.read_bytes() + b"appended")
    assert _read(path)["label"].equals(table["label"])
    assert capsys.readouterr().err == (
        f"warning: {path}: 8 bytes after the end of its gzip data are no gzip and were not read\n"
    )


def test_what_is_not_there(tmp_path, table):
    assert "no such file" in _error(tmp_path / "none.csv")
    assert "matches no file" in _error(tmp_path / "none*.csv")
    assert "without table files" in _error(tmp_path)
    assert "no file given" in _error()
    assert "empty file name" in _error("")
    assert "Protocol not known" in _error("gopher://host/t.csv")
    path = _write(tmp_path / "t.csv", table)
    assert "given twice" in _error(tmp_path, path)
    assert "no column 'x'" in _error(path, columns=["x"])
    gone = TableFiles.find(path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        gone.schema()


def test_two_columns_of_one_name(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    for ending in (".parquet", ".feather", ".arrows"):
        path = _write(tmp_path / f"t{ending}", twice)
        assert f"t{ending}: two columns are called 'a'" in _error(path)


def test_files_that_disagree_are_named(tmp_path):
    paths = _tables(tmp_path, {"a": [1]}, {"a": pa.nulls(1)}, {"a": ["secret"]})
    message = _error(*paths)
    assert "column 'a' is int64 in" in message and "0.parquet" in message and "2.parquet" in message


# ---- S3 and the web


@pytest.fixture(scope="module")
def bucket():
    """A file system with an S3 server behind it, and the URI of a bucket."""
    import fsspec
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint_url": f"http://{host}:{port}",
        "key": "test-key-id",
        "secret": "test-secret-never-logged",
    }
    before = dict(fsspec.config.conf)
    fsspec.config.conf["s3"] = options
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    fs.call_s3("create_bucket", Bucket="tables")
    yield fs, "s3://tables"
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.parametrize("ending", [".parquet", ".csv.gz"])
def test_s3(table, bucket, ending, tmp_path):
    fs, uri = bucket
    data = _write(tmp_path / f"t{ending}", table).read_bytes()
    for name in ("a b", "a#b", "a%20b", "a?b", "a[b]c", "ä-Ωя"):
        fs.pipe_file(f"tables/{ending}/{name}/{name}{ending}", data)
        files = TableFiles.find(f"{uri}/{ending}/{name}/{name}{ending}")
        assert pa.Table.from_batches(files.batches(["label"])).equals(table.select(["label"]))
        assert TableFiles.find(f"{uri}/{ending}/{name}") == files
    found = describe_file(files.uris[0], str(tmp_path / "kept"))
    assert found["num_bytes"] == len(data) and len(found["etag"]) == 32
    assert found["name"] == f"ä-Ωя{ending}"
    assert len(TableFiles.find(f"{uri}/{ending}/*/*{ending}").uris) == 6


def test_s3_mistakes(bucket):
    _, uri = bucket
    assert "no such file" in _error(f"{uri}/none.csv")
    assert "matches no file" in _error(f"{uri}/none/*.csv")
    assert "may not carry credentials" in _error("s3://key:secret@tables/t.csv")


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        data = self.server.files.get(path)
        basic = self.headers.get("Authorization", "")
        known = query == "key=secret%2Fkey&x=1" or basic == self.server.basic
        if data is None or not known:
            self.send_error(404 if known else 403)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if "etag" in path:
            self.send_header("ETag", '"version-1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if "broken" in path else data)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def web():
    """A server that knows no ranges; its files, and how URLs on it begin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files = {}
    server.basic = "Basic " + b64encode(b"me:secret").decode()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.files, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz", ".jsonl.zst", ".feather"])
def test_web(table, web, tmp_path, ending):
    files, host = web
    data = _write(tmp_path / f"t{ending}", table).read_bytes()
    files[f"/a%20b/etag{ending}"] = data
    for url in (
        f"http://{host}/a%20b/etag{ending}?key=secret%2Fkey&x=1",
        f"http://me:secret@{host}/a b/etag{ending}",
    ):
        assert _read(url)["text"].equals(table["text"])
        found = describe_file(url, str(tmp_path / "kept"))
        assert "secret" not in json.dumps(found)
        assert found["num_bytes"] == len(data)
        assert found["etag"] == "version-1"
    files[f"/t{ending}"] = data
    found = describe_file(f"http://me:secret@{host}/t{ending}", str(tmp_path / "kept"))
    assert found == {
        "name": f"http://{host}/t{ending}",
        "num_bytes": len(data),
        "xxh3_128": describe_file(str(tmp_path / f"t{ending}"), str(tmp_path / "kept"))["xxh3_128"],
    }


def test_web_mistakes(table, web):
    files, host = web
    files["/broken.csv"] = _csv(table)
    files["/broken.parquet"] = _parquet(table)
    files["/broken.csv.gz"] = gzip.compress(_csv(table))
    assert "no such file" in _error(f"http://me:secret@{host}/none.csv")
    assert "answered 403" in _error(f"http://{host}/none.csv?key=secret")
    for ending in (".csv", ".parquet", ".csv.gz"):
        message = _error(f"http://{host}/broken{ending}?key=secret%2Fkey&x=1")
        assert "cannot be read (ClientPayloadError)" in message
    message = _error("http://me:secret@127.0.0.1:9/t.csv?key=secret")
    assert "http://127.0.0.1:9/t.csv: cannot be read" in message
