"""Which reviews a configuration names."""

import pytest

from raclib.errors import UserError
from raclib.tasks.amazon.corpus import category_url


def test_category_address():
    assert category_url("Electronics").endswith("/raw/review_categories/Electronics.jsonl.gz")
    with pytest.raises(UserError, match=r"category: '\.\./x'; give a name such as Electronics"):
        category_url("../x")
