"""What is removed or made is what was named, whatever characters the name has."""

import pytest
import s3fs

from raclib.corpus.files import list_files
from raclib.errors import UserError
from raclib.ingest.staging import Staging
from raclib.run.shared import check_shared
from raclib.training.claim import claim

NAMES = ("run[12]", "run?", "run*", "O'Brien ü #[1] %41 ?x", "run!", "run^{1}")
OTHERS = ("run1", "run2", "run12", "run", "run-")


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    """An empty place, of this machine or on S3."""
    return str(tmp_path) if request.param == "file" else f"{request.getfixturevalue('bucket')}/rm"


@pytest.mark.parametrize("name", NAMES)
def test_a_staging_folder_is_removed_by_its_name(place, name):
    for other in OTHERS:
        Staging(f"{place}/{other}").write("claim", {})
    before = list_files(place)
    staging = Staging(f"{place}/{name}")
    for record in ("claim", "encoded-00000000"):
        staging.write(record, {})
    staging.remove()
    assert list_files(place) == before
    staging.remove()
    assert list_files(place) == before


def test_no_bucket_is_made(bucket):
    missing = "s3://no-such-bucket-here"
    with pytest.raises(UserError, match="no such bucket") as error:
        check_shared(storage_path=f"{missing}/runs")
    assert str(error.value) == (
        f"storage_path: {missing}/runs: there is no such bucket; make it, or give another place"
    )
    with pytest.raises(UserError, match=f"^{missing}: there is no such bucket; create it"):
        claim(f"{missing}/runs/a", {})
    assert not s3fs.S3FileSystem().exists(missing)
