"""What gzip says of a file, whatever its members and the sizes in which it is read."""

import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.errors import UserError
from raclib.ingest import gzip_reader
from raclib.ingest.gzip_reader import GzipReader


def read(packed: bytes, size: int = 2**16) -> tuple[bytes, int]:
    reader = GzipReader(io.BytesIO(packed), "a")
    return io.BufferedReader(reader, size).read(), reader.num_left


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=300).map(lambda data: data * 50), min_size=1, max_size=3),
    st.integers(0, 3),
    st.binary(max_size=20).filter(lambda left: left[:1] not in (b"\0", b"\x1f")),
    st.integers(1, 5000),
    st.integers(1, 100),
)
def test_any_members_padding_and_rest(parts, zeros, left, size, chunk):
    packed = b"".join(map(gzip.compress, parts)) + bytes(zeros) + left
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip_reader, "CHUNK_BYTES", chunk)
        assert read(packed, size) == (b"".join(parts), len(left))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_every_cut_is_found(cut):
    packed = gzip.compress(b"abc" * 100) + gzip.compress(b"def" * 100)
    with pytest.raises(UserError, match="a: truncated gzip file; get it again"):
        read(packed[:-cut])


@pytest.mark.parametrize("place", range(1, 60, 3))
def test_a_flipped_byte_is_found(place):
    packed = bytearray(gzip.compress(bytes(range(100))))
    packed[-place] ^= 8
    with pytest.raises(UserError, match=r"a: (truncated|damaged) gzip file; get it again"):
        read(bytes(packed))
