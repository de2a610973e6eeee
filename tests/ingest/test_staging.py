"""What an unfinished corpus leaves, where a crash left it in part."""

import pytest

from raclib.errors import UserError
from raclib.ingest.staging import Staging


def test_a_record_that_is_not_whole_is_named_with_the_remedy(tmp_path):
    staging = Staging(f"{tmp_path}/corpus")
    staging.write("claim", {"cutoff": "2020-01-01"})
    file = tmp_path / "corpus.staging" / "claim.json"
    file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(UserError) as error:
        staging.resume({"cutoff": "2020-01-01"})
    assert str(error.value) == (
        f"{file}: not whole, as a full disk or a crash leaves it; remove {staging.uri} to make the "
        "corpus anew"
    )
