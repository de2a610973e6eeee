"""A name belongs to one set of settings."""

import pytest

from raclib.errors import UserError
from raclib.training.claim import check_claim, claim


def test_the_same_settings_continue(tmp_path):
    claim(f"{tmp_path}/run", {"train.batch_size": 8, "num_workers": 1})
    claim(f"{tmp_path}/run", {"train.batch_size": 8, "num_workers": 2})


def test_a_check_claims_nothing(tmp_path):
    check_claim(f"{tmp_path}/run", {"train.batch_size": 8})
    check_claim(f"{tmp_path}/run", {"train.batch_size": 16})


def test_other_settings_are_refused_by_name_value_and_remedy(tmp_path):
    claim(f"{tmp_path}/run", {"train.batch_size": 8})
    with pytest.raises(UserError, match=r"train.batch_size: .* with 8, now it is 16; .*--name"):
        check_claim(f"{tmp_path}/run", {"train.batch_size": 16})
