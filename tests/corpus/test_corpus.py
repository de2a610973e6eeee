import pickle
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import open_corpus
from raclib.corpus.column import Column
from raclib.errors import UserError


@pytest.fixture
def damaged(copy):
    """A copy of the corpus to damage, and the path of one of its files."""
    return copy, Path(copy.uri, "shards", copy.shards[1].id, "embedding.npy")


def test_reads_any_interval(corpus, rows):
    for lo, hi in [(0, None), (0, 0), (1199, 1201), (100, 4999), (5000, 5000)]:
        np.testing.assert_array_equal(corpus.read("time", lo, hi), rows["time"][lo:hi])
    found = corpus.read("pair", 10, 20)
    found += 1
    np.testing.assert_array_equal(found - 1, rows["pair"][10:20])
    for lo, hi in [(-1, 5), (3, 2), (0, 5001)]:
        with pytest.raises(UserError, match=r"the corpus has rows \[0, 5000\)"):
            corpus.read("time", lo, hi)
    with pytest.raises(UserError, match="field 'nothing'"):
        corpus.read("nothing")


def test_iterates_over_shards(corpus, rows):
    found = list(corpus.iter_field("embedding"))
    assert [start for start, _ in found] == [0, 1200, 2400, 3600, 4800]
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows["embedding"])
    assert not found[0][1].flags.writeable


def test_pickles_small(corpus):
    data = pickle.dumps(corpus)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data).read("label"), corpus.read("label"))


def test_provenance_is_compared(tmp_path, make_rows, write_corpus):
    uri = str(tmp_path / "c")
    write_corpus(uri, make_rows(10), 10, provenance={"encoder": "minilm", "dims": (1, 2)})
    assert open_corpus(uri, expect={"dims": (1, 2)}).provenance["encoder"] == "minilm"
    with pytest.raises(UserError, match="encoder = 'minilm', this run needs 'hashing'"):
        open_corpus(uri, expect={"encoder": "hashing"})
    with pytest.raises(UserError, match="prompt = None"):
        open_corpus(uri, expect={"prompt": "p"})


def test_no_corpus_and_no_version(tmp_path, corpus):
    with pytest.raises(UserError, match="no corpus here"):
        open_corpus(str(tmp_path))
    with pytest.raises(UserError, match=r"00000009\.json: missing"):
        open_corpus(corpus.uri, version=9)


def test_verifies(corpus):
    sizes = []
    corpus.verify(sizes.append)
    assert len(sizes) == 25


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("at", [20, 64, 128, 5000, -1, -200])
def test_a_flipped_bit_anywhere_is_found(damaged, at):
    corpus, path = damaged
    flip(path, at)
    with pytest.raises(UserError, match="restore the file") as caught:
        corpus.verify()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_header_or_sum_is_found_when_mounted(corpus):
    shard, field = corpus.shards[0], corpus.fields["flag"]
    whole = Path(corpus.uri, "shards", shard.id, "flag.npy").read_bytes()
    data_ends = 128 + shard.num_rows
    for at in [*range(128), *range(data_ends, len(whole))]:
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        with pytest.raises(UserError, match=r"^name: .*restore the file$"):
            Column(bytes(data), field, shard.num_rows, shard.files["flag"], "name")


def test_a_truncated_and_a_missing_file(damaged):
    corpus, path = damaged
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated shard"):
        corpus.verify()
    path.write_bytes(b"")
    with pytest.raises(UserError, match="truncated shard"):
        corpus.verify()
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        corpus.verify()


def test_a_file_cut_while_mapped_is_an_error_not_a_crash(damaged):
    corpus, path = damaged
    column = corpus.column(corpus.shards[1], "embedding")
    with path.open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(UserError, match="truncated shard"):
        column.gather(np.array([1199]), np.empty((1, 24), np.float16), slice(0, 1))
    with pytest.raises(UserError, match="truncated shard"):
        column.read(1190, 1200)


def test_a_pickle_is_refused(damaged):
    corpus, path = damaged
    np.save(path, np.array([{"a": 1}] * 9999, object), allow_pickle=True)
    with pytest.raises(UserError):
        corpus.verify()
