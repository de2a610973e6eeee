from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, ShardInfo, open_corpus, publish, write_field
from raclib.errors import UserError

SMALL = {"label": Field("int8"), "time": Field("int64")}


def small_rows(times) -> dict[str, np.ndarray]:
    return {"label": np.arange(len(times)).astype(np.int8), "time": np.array(times, np.int64)}


def write_small(uri, times, **options):
    with CorpusWriter(uri, SMALL, **options) as writer:
        writer.write(small_rows(times))
    return open_corpus(uri)


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "corpus")


def test_files_are_plain_npy_in_time_order(uri, make_rows, write_corpus):
    rows = make_rows(1000)
    corpus = write_corpus(uri, rows, rows_per_shard=300)
    assert [shard.num_rows for shard in corpus.shards] == [300, 300, 300, 100]
    for name, array in rows.items():
        paths = [Path(uri) / "shards" / shard.id / f"{name}.npy" for shard in corpus.shards]
        found = np.concatenate([np.load(path, allow_pickle=False) for path in paths])
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert len(corpus) == 1000
    assert corpus.time_range == (rows["time"][0], rows["time"][-1])


def test_append_keeps_row_ids_and_the_old_version(uri, make_rows, write_corpus):
    first, second = make_rows(500), make_rows(300, seed=1, start_time=500)
    old = write_corpus(uri, first, 200, provenance={"encoder": "e"})
    new = write_corpus(uri, second, 200, mode="append", provenance={"encoder": "e"})
    assert (old.version, new.version, open_corpus(uri, version=1).version) == (1, 2, 1)
    assert new.shards[: len(old.shards)] == old.shards
    assert new.provenance == {"encoder": "e"}
    np.testing.assert_array_equal(old.read("label"), first["label"])
    both = np.concatenate([first["label"], second["label"]])
    np.testing.assert_array_equal(new.read("label"), both)


def test_times_out_of_order(uri):
    with pytest.raises(UserError, match="3 comes after 5"), CorpusWriter(uri, SMALL) as writer:
        writer.write(small_rows([1, 5, 3]))
    with pytest.raises(UserError, match="4 comes after 5"), CorpusWriter(uri, SMALL) as writer:
        writer.write(small_rows([1, 5]))
        writer.write(small_rows([4]))
    write_small(uri, [1, 5, 5])
    with pytest.raises(UserError, match="4 comes after 5"):
        write_small(uri, [4], mode="append")
    assert len(write_small(uri, [5], mode="append")) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": np.zeros(3, np.int16)}, "label: is int16"),
        ({"label": [1, 2, 3]}, "label: is list"),
        ({"label": np.zeros((3, 1), np.int8)}, r"label: has shape \(3, 1\)"),
        ({"label": np.zeros(2, np.int8)}, "lengths differ"),
        ({"other": np.zeros(3)}, "fields"),
    ],
)
def test_rows_that_are_not_the_fields(uri, change, said):
    with CorpusWriter(uri, SMALL) as writer:
        writer.write(small_rows([1]))
        with pytest.raises(UserError, match=said):
            writer.write({**small_rows([2, 3, 4]), **change})
        writer.write(small_rows([2]))
    assert open_corpus(uri).read("time").tolist() == [1, 2]


def test_an_exception_publishes_nothing(uri):
    write_small(uri, [1, 2])
    with (
        pytest.raises(RuntimeError),
        CorpusWriter(uri, SMALL, rows_per_shard=1, mode="append") as writer,
    ):
        writer.write(small_rows([3, 4, 5]))
        raise RuntimeError
    assert open_corpus(uri).version == 1
    assert len(write_small(uri, [3], mode="append")) == 3


def test_create_and_append_where_they_cannot_be(uri):
    with pytest.raises(UserError, match="no corpus here"):
        CorpusWriter(uri, SMALL, mode="append")
    write_small(uri, [1])
    with pytest.raises(UserError, match="a corpus is here"):
        CorpusWriter(uri, SMALL)
    with pytest.raises(UserError, match="has the fields"):
        CorpusWriter(uri, {"time": Field("int64")}, mode="append")
    with pytest.raises(UserError, match="'time'"):
        CorpusWriter(uri + "2", {"label": Field("int8")})


def test_two_writers_of_one_version(uri):
    write_small(uri, [1])
    with (
        pytest.raises(UserError, match="version 2 was published by another writer"),
        CorpusWriter(uri, SMALL, mode="append") as late,
    ):
        late.write(small_rows([3]))
        write_small(uri, [2], mode="append")
    assert open_corpus(uri).read("time").tolist() == [1, 2]


def test_of_many_racing_publishers_one_wins(uri):
    shards = write_small(uri, [1]).shards

    def race(_: int) -> bool:
        try:
            publish(uri, SMALL, shards, version=2)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1
    assert open_corpus(uri).version == 2


def test_shards_written_field_by_field(uri):
    """What a parallel preparation does: fields of a shard at different moments, some twice."""
    shards = []
    for index, times in enumerate(([1, 2], [2, 7])):
        rows = small_rows(times)
        infos = {
            name: write_field(uri, f"s{index}", name, SMALL[name], rows[name]) for name in rows
        }
        again = write_field(uri, f"s{index}", "label", SMALL["label"], rows["label"])
        assert again == infos["label"]
        shard = ShardInfo(f"s{index}", 2, (times[0], times[-1]), infos)
        shards.append(ShardInfo.from_json(shard.to_json()))
    with pytest.raises(UserError, match="being written"):
        open_corpus(uri)
    corpus = publish(uri, SMALL, shards, {"made": "so"})
    assert corpus.read("time").tolist() == [1, 2, 2, 7]
    assert open_corpus(uri, expect={"made": "so"}).shards == tuple(shards)


def test_publish_refuses_what_is_not_written(uri):
    corpus = write_small(uri, [1, 2])
    path = next(Path(uri).glob("shards/*/label.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="field label"):
        publish(uri, SMALL, corpus.shards)
    path.unlink()
    with pytest.raises(UserError, match="no bytes are written"):
        publish(uri, SMALL, corpus.shards)
    assert open_corpus(uri).version == 1


def test_nothing_temporary_is_left(uri):
    write_small(uri, range(10), rows_per_shard=3)
    assert all(path.suffix in (".npy", ".json") for path in Path(uri).rglob("*") if path.is_file())


@pytest.mark.parametrize("provenance", [{"a": float("nan")}, {"a": object()}])
def test_provenance_must_be_json(uri, provenance):
    with pytest.raises(UserError, match="provenance"):
        CorpusWriter(uri, SMALL, provenance=provenance)
