"""What an unfinished corpus leaves, where a crash left it in part."""

import pytest

from raclib.errors import UserError
from raclib.ingest import staging
from raclib.ingest.staging import Staging, shard_record


def test_a_record_that_is_not_whole_is_named_with_the_remedy(tmp_path):
    folder = Staging(f"{tmp_path}/corpus")
    folder.write("claim", {"cutoff": "2020-01-01"})
    file = tmp_path / "corpus.staging" / "claim.json"
    file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(UserError) as error:
        folder.resume({"cutoff": "2020-01-01"})
    assert str(error.value) == (
        f"{file}: not whole, as a full disk or a crash leaves it; remove {folder.uri} to make the "
        "corpus anew"
    )


def test_records_of_many_shards_are_listed_once(tmp_path, monkeypatch):
    folder, num_listed, original = Staging(f"{tmp_path}/corpus"), [], staging.list_files
    for shard in range(30):
        folder.write(shard_record("encoded", shard), {"rows": shard})
        folder.write(shard_record("keyed", shard), {})
    monkeypatch.setattr(staging, "list_files", lambda uri: num_listed.append(uri) or original(uri))
    assert folder.finished("encoded") == {shard: {"rows": shard} for shard in range(30)}
    assert folder.numbers("keyed") == list(range(30))
    assert folder.read(shard_record("encoded", 30)) is None
    assert len(num_listed) == 2
