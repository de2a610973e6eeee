"""Reading reviews: every valid row with its line, every malformed one counted, no text told."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import s3fs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raclib.corpus.urls import public_name
from raclib.errors import UserError
from raclib.ingest.tally import Tally
from raclib.tasks.amazon import reviews
from raclib.tasks.amazon.reviews import BATCH_ROWS, COLUMNS, read_reviews

BOOKS = Path(__file__).parents[4] / "shared" / "data" / "amazon_books.jsonl.gz"
GOOD = {
    "rating": 4.0,
    "title": "Fine",
    "text": "Works as it should.",
    "timestamp": 1_400_000_000_000,
    "helpful_vote": 2,
    "verified_purchase": True,
    "asin": "B000",
}
SECRET = "a user's own words"


def to_lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def read(*uris: str, strict: bool = False) -> tuple[dict[str, np.ndarray], Tally]:
    tally = Tally()
    tables = list(read_reviews(uris, tally, strict))
    assert all(table.schema == COLUMNS for table in tables)
    columns = {
        name: np.concatenate([table[name].to_numpy() for table in tables]) for name in COLUMNS.names
    }
    return columns, tally


def test_reads_plain_and_gzip_files_with_lines_counted_over_all(tmp_path):
    plain = to_lines(GOOD, "not a review", {**GOOD, "rating": 1})
    packed = gzip.compress(to_lines({**GOOD, "rating": 2, "verified_purchase": False}))
    columns, tally = read(write(tmp_path / "a.jsonl", plain), write(tmp_path / "no_suffix", packed))
    assert columns["_line"].tolist() == [0, 2, 3]
    assert columns["rating"].tolist() == [4, 1, 2]
    assert columns["timestamp"].tolist() == [1_400_000_000_000] * 3
    assert columns["helpful_vote"].tolist() == [2, 2, 2]
    assert columns["verified_purchase"].tolist() == [1, 1, 0]
    assert columns["title"].tolist() == ["Fine"] * 3
    assert (tally.num_lines, tally.num_rows, tally.skipped.total()) == (4, 3, 1)


def test_reads_a_last_line_without_line_end(tmp_path):
    columns, _ = read(write(tmp_path / "a", to_lines(GOOD, GOOD).rstrip()))
    assert columns["_line"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("rating", float("nan"), "rating: input should be a finite number"),
        ("rating", float("inf"), "rating: input should be a finite number"),
        ("rating", 0, "rating: input should be greater than or equal to 1"),
        ("rating", 6.0, "rating: input should be less than or equal to 5"),
        ("rating", "5", "rating: input should be a valid number"),
        ("rating", True, "rating: input should be a valid number"),
        ("rating", None, "rating: input should be a valid number"),
        ("title", None, "title: input should be a valid string"),
        ("text", [SECRET], "text: input should be a valid string"),
        ("text", "\ud800", "not valid JSON"),
        ("timestamp", 1.4e12, "timestamp: input should be a valid integer"),
        ("timestamp", 1_400_000_000, "timestamp: seconds? give milliseconds"),
        ("timestamp", 1_400_000_000_000_000, "timestamp: microseconds? give milliseconds"),
        ("timestamp", 1_400_000_000 * 10**9, "timestamp: nanoseconds? give milliseconds"),
        ("timestamp", 7, "timestamp: input should be greater than or equal to"),
        ("timestamp", 10**30, "timestamp: input should be less than or equal to"),
        ("timestamp", -1, "timestamp: input should be greater than or equal to"),
        ("timestamp", "2014-01-01", "timestamp: input should be a valid integer"),
        ("helpful_vote", -1, "helpful_vote: input should be greater than or equal to 0"),
        ("helpful_vote", 1.5, "helpful_vote: input should be a valid integer"),
        ("helpful_vote", 2**31, "helpful_vote: input should be less than"),
        ("verified_purchase", 1, "verified_purchase: input should be a valid boolean"),
        ("verified_purchase", "true", "verified_purchase: input should be a valid boolean"),
    ],
)
def test_counts_malformed_rows_by_reason_and_tells_no_text(tmp_path, field, value, reason):
    bad = {**GOOD, "title": SECRET, "text": SECRET, field: value}
    uri = write(tmp_path / "a", to_lines(GOOD, bad))
    columns, tally = read(uri)
    assert columns["_line"].tolist() == [0]
    assert [found.startswith(reason) for found in tally.skipped] == [True]
    with pytest.raises(UserError, match=f"a, line 2: {re.escape(reason)}") as error:
        read(uri, strict=True)
    assert SECRET not in str(error.value) + str(tally.skipped)


@pytest.mark.parametrize("field", [name for name in GOOD if name != "asin"])
def test_counts_rows_without_a_field(tmp_path, field):
    bad = {name: value for name, value in GOOD.items() if name != field}
    _, tally = read(write(tmp_path / "a", to_lines(GOOD, bad, bad)))
    assert tally.skipped == {f"{field}: field required": 2}


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b'{"rating": 1} x', b"NaN NaN"])
def test_counts_lines_that_are_no_json(tmp_path, line):
    _, tally = read(write(tmp_path / "a", line + b"\n" + to_lines(GOOD)))
    assert tally.skipped == {"not valid JSON": 1}


def test_strict_names_the_line_of_its_own_file(tmp_path):
    first = write(tmp_path / "first", to_lines(GOOD, GOOD))
    second = write(tmp_path / "second", to_lines(GOOD, {}))
    with pytest.raises(UserError, match="second, line 2: rating: field required; mend it"):
        read(first, second, strict=True)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([name for name in GOOD if name != "asin"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers()),
    )
)
@example({"helpful_vote": 2**24 + 1})
def test_any_value_is_read_or_counted(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("any") / "a"
    columns, tally = read(write(path, to_lines(GOOD, {**GOOD, **changes})))
    assert tally.num_lines == 2
    assert len(columns["_line"]) + tally.skipped.total() == 2
    for name in ("rating", "helpful_vote", "timestamp"):
        assert np.isfinite(columns[name]).all()
    assert ((columns["rating"] >= 1) & (columns["rating"] <= 5)).all()


def test_is_read_in_batches_of_bounded_size(tmp_path):
    num_rows = 2 * BATCH_ROWS + 10
    uri = write(tmp_path / "a", to_lines(GOOD) * num_rows)
    batches = read_reviews([uri], Tally(), False)
    assert [len(batch) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 10]


def test_yields_before_it_has_read_everything(tmp_path):
    packed = gzip.compress(to_lines(*({**GOOD, "timestamp": 10**12 + i**3} for i in range(9000))))
    batches = read_reviews([write(tmp_path / "a", packed[:-1000])], Tally(), False)
    assert next(batches)["_line"][-1].as_py() == BATCH_ROWS - 1
    with pytest.raises(UserError, match="a: truncated gzip file; get it again"):
        list(batches)


def test_a_very_long_line_is_counted_and_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "MAX_LINE_BYTES", 300)
    long = {**GOOD, "text": "x" * 1000}
    columns, tally = read(write(tmp_path / "a", to_lines(GOOD, long, GOOD)))
    assert columns["_line"].tolist() == [0, 2]
    assert tally.skipped == {"line too long": 1}


def test_bad_files_are_one_line_errors(tmp_path):
    packed = gzip.compress(to_lines(*[GOOD] * 50))
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 255
    good = write(tmp_path / "good", to_lines(GOOD))
    cases = {
        write(tmp_path / "truncated", packed[:-20]): "truncated: truncated gzip file",
        write(tmp_path / "damaged", bytes(flipped)): "damaged: damaged gzip file",
        write(tmp_path / "empty", b""): "empty: empty file",
        write(tmp_path / "empty.gz", gzip.compress(b"")): "empty.gz: empty file",
        str(tmp_path / "missing"): "missing: no such file; check the path",
        str(tmp_path): "a folder; it holds no table itself",
    }
    for uri, message in cases.items():
        with pytest.raises(UserError, match=message) as error:
            read(good, uri)
        assert "\n" not in str(error.value)


def test_a_byte_order_mark_costs_no_review(tmp_path):
    data = codecs.BOM_UTF8 + to_lines(GOOD, GOOD)
    paths = write(tmp_path / "a", data), write(tmp_path / "b", gzip.compress(data))
    _, tally = read(*paths)
    assert (tally.num_lines, tally.num_rows) == (4, 4)


@pytest.mark.parametrize(
    "pack", [bz2.compress, lambda data: pa.compress(data, "zstd", asbytes=True)], ids=["bz2", "zst"]
)
def test_what_can_be_unpacked_is_read(tmp_path, pack):
    packed = pack(to_lines(*[GOOD] * 3000))
    columns, _ = read(write(tmp_path / "a", packed))
    assert columns["_line"].tolist() == [*range(3000)]
    with pytest.raises(UserError, match="truncated or damaged"):
        read(write(tmp_path / "b", packed[:-10]))


def test_bytes_after_a_gzip_member_are_counted_and_told(tmp_path):
    packed = gzip.compress(to_lines(GOOD)) + gzip.compress(to_lines(GOOD, GOOD))
    _, tally = read(write(tmp_path / "a.gz", packed + b"\0\0-- mirrored --"))
    assert tally.num_rows == 3
    assert tally.remarks == [
        f"{tmp_path}/a.gz: 14 bytes after the end of its gzip data are no gzip and were not read"
    ]
    _, tally = read(write(tmp_path / "b.gz", packed + bytes(512)))
    assert (tally.num_rows, tally.remarks) == (3, [])


ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as archive:
    archive.writestr("reviews.jsonl", to_lines(GOOD))
OTHERS = {
    "a zip archive": ZIPPED.getvalue(),
    "UTF-16 text, which must be UTF-8": to_lines(GOOD).decode().encode("utf-16"),
    "UTF-16 text, which must be UTF-8 ": to_lines(GOOD).decode().encode("utf-16-be"),
    "an HTML page": b"<!DOCTYPE html><html>sign in</html>",
    "an HTML page ": gzip.compress(b"<!DOCTYPE html><html>sign in</html>"),
    "a Git LFS pointer, not the file itself (git lfs pull gets it)": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    ),
    "an xz archive": lzma.compress(to_lines(GOOD)),
    "Parquet": b"PAR1" + bytes(50),
    "one JSON array": b" [" + to_lines(GOOD)[:-1] + b"]",
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_json_lines_is_named(tmp_path, what):
    with pytest.raises(UserError) as error:
        read(write(tmp_path / "a", OTHERS[what]))
    assert str(error.value) == (
        f"{tmp_path}/a: looks like {what.strip()}; give JSON lines, plain, gzip, bz2 or zstd"
    )


def test_a_line_of_zeros_is_one_line(tmp_path):
    _, tally = read(write(tmp_path / "a", to_lines(GOOD) + bytes(9) + b"\n" + to_lines(GOOD)))
    assert tally.skipped == {"not valid JSON": 1}


def test_no_valid_review_is_an_error_that_says_why(tmp_path):
    uri = write(tmp_path / "a", to_lines({}, {**GOOD, "rating": 9}, {}))
    with pytest.raises(
        UserError, match=r"a: no valid review in 3 lines: rating: field required \(2\)"
    ):
        read(uri)


def test_reads_any_fsspec_uri():
    import fsspec

    with fsspec.open("memory://reviews/a.jsonl", "wb") as file:
        file.write(to_lines(GOOD))
    assert read("memory://reviews/a.jsonl")[1].num_rows == 1
    with pytest.raises(UserError, match=r"memory://reviews/none\.jsonl: no such file"):
        read("memory://reviews/none.jsonl")


@pytest.fixture
def object_store(monkeypatch):
    """A bucket on a local S3 server."""
    moto = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("reviews")
    yield "s3://reviews"
    s3fs.S3FileSystem.clear_instance_cache()
    moto.stop()


def test_reads_plain_and_gzip_files_of_an_object_store(object_store):
    fs = s3fs.S3FileSystem()
    fs.pipe("reviews/a", to_lines(GOOD, GOOD))
    fs.pipe("reviews/b", gzip.compress(to_lines(GOOD)))
    columns, _ = read(f"{object_store}/a", f"{object_store}/b")
    assert columns["_line"].tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="s3://reviews/c: no such file"):
        read(f"{object_store}/c")


def test_public_names_hold_no_secrets():
    url = "https://user:word@host.example:80/a/b.jsonl.gz?signature=word#word"
    assert public_name(url) == "https://host.example:80/a/b.jsonl.gz"
    assert public_name("/data/a.jsonl") == "/data/a.jsonl"


@pytest.mark.skipif(not BOOKS.exists(), reason="needs the book reviews")
def test_reads_real_reviews_whole():
    columns, tally = read(str(BOOKS))
    assert (tally.num_lines, tally.num_rows) == (31_732, 31_732)
    assert set(columns["rating"].tolist()) == {1, 2, 3, 4, 5}
    assert (np.diff(columns["timestamp"]) >= 0).all()
