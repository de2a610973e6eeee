"""Embeddings read from a file: by line, and only if the file can be what it should be."""

import numpy as np
import pytest

from raclib.errors import UserError
from raclib.ingest.config import EncoderConfig
from raclib.ingest.precomputed import PrecomputedEmbeddings


def save(path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_reads_rows_by_line(tmp_path, dtype):
    rows = np.arange(40, dtype=dtype).reshape(10, 4)
    found = PrecomputedEmbeddings(save(tmp_path / "e.npy", rows)).read(np.array([7, 0, 7]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows[[7, 0, 7]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2)), r"holds float64 \[3, 2\]; give float16 or float32"),
        (np.zeros(3, np.float16), r"holds float16 \[3\]; give float16 or float32 \[lines, width\]"),
        (np.array([{}]), "not a .npy array"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    with pytest.raises(UserError, match=message):
        PrecomputedEmbeddings(save(tmp_path / "e.npy", array))


@pytest.mark.parametrize("data", [b"", b"no array at all", b"\x93NUMPY\x01\x00"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "e.npy").write_bytes(data)
    with pytest.raises(UserError, match=r"e\.npy: not a \.npy array"):
        PrecomputedEmbeddings(str(tmp_path / "e.npy"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"encoder\.precomputed: .*none\.npy: no such file"):
        PrecomputedEmbeddings(str(tmp_path / "none.npy"))


def test_rows_must_match_lines_and_width_the_encoder(tmp_path):
    found = PrecomputedEmbeddings(save(tmp_path / "e.npy", np.zeros((5, 384), np.float16)))
    found.check(5, EncoderConfig(kind="minilm"), "reviews")
    found.check(5, EncoderConfig(kind="sentence_transformers"), "reviews")
    with pytest.raises(
        UserError, match="has 5 rows, the reviews have 6 lines; give one row a line"
    ):
        found.check(6, EncoderConfig(kind="minilm"), "reviews")
    with pytest.raises(UserError, match=r"is 384 wide, encoder\.kind hashing makes 256; name the"):
        found.check(5, EncoderConfig(kind="hashing"), "reviews")
