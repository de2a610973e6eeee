"""A name belongs to one set of settings."""

import json
import shutil

import pytest

from raclib.errors import UserError
from raclib.training.claim import check_claim, claim


def test_the_same_settings_continue(tmp_path):
    claim(f"{tmp_path}/run", {"train.batch_size": 8, "num_workers": 1})
    claim(f"{tmp_path}/run", {"train.batch_size": 8, "num_workers": 2})


def test_a_check_claims_nothing(tmp_path):
    assert check_claim(f"{tmp_path}/run", {"train.batch_size": 8}) is None
    assert check_claim(f"{tmp_path}/run", {"train.batch_size": 16}) is None


def test_a_run_keeps_its_id_until_its_folder_is_removed(tmp_path):
    place, settings = f"{tmp_path}/run", {"train.batch_size": 8}
    first = claim(place, settings)
    assert claim(place, settings) == check_claim(place, settings) == first
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["id"] == first
    shutil.rmtree(place)
    assert claim(place, settings) != first


def test_a_run_of_earlier_versions_is_known_by_its_place(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"train.batch_size": 8}))
    assert claim(str(tmp_path), {"train.batch_size": 8}) == str(tmp_path)


def test_other_settings_are_refused_by_name_value_and_remedy(tmp_path):
    claim(f"{tmp_path}/run", {"train.batch_size": 8})
    with pytest.raises(UserError, match=r"train.batch_size: .* with 8, now it is 16; .*--name"):
        check_claim(f"{tmp_path}/run", {"train.batch_size": 16})


@pytest.mark.parametrize("left", [b"", b'{"train.batch_s', b"\0\xff"])
def test_settings_that_are_not_whole_are_named_with_the_remedy(tmp_path, left):
    claim(f"{tmp_path}/run", {"train.batch_size": 8})
    (tmp_path / "run" / "settings.json").write_bytes(left)
    with pytest.raises(UserError) as error:
        check_claim(f"{tmp_path}/run", {"train.batch_size": 8})
    assert str(error.value) == (
        f"{tmp_path}/run/settings.json: not whole, as a full disk or a crash leaves it; remove it "
        f"to continue with the settings of now, or {tmp_path}/run to start again"
    )


def test_a_renewed_signature_continues_and_none_is_kept(tmp_path):
    def settings(secret: str, year: int = 2011) -> dict[str, object]:
        url = f"https://me:{secret}@host/r.jsonl?year={year}&X-Amz-Signature={secret}"
        return {"reviews": [url], "data": url}

    claim(f"{tmp_path}/run", settings("word"))
    check_claim(f"{tmp_path}/run", settings("other"))
    file = tmp_path / "run" / "settings.json"
    assert "word" not in file.read_text()
    with pytest.raises(UserError, match=r"with .*year=2011.*, now it is .*year=2012") as error:
        check_claim(f"{tmp_path}/run", settings("other", 2012))
    assert "other@" not in str(error.value) and "=other" not in str(error.value)


def test_a_run_claimed_with_a_signature_goes_on_without_it(tmp_path):
    file = tmp_path / "run" / "settings.json"
    file.parent.mkdir()
    file.write_text('{"data": "https://host/r.jsonl?sig=word"}')
    claim(f"{tmp_path}/run", {"data": "https://host/r.jsonl?sig=other"})
    assert "word" not in file.read_text()
