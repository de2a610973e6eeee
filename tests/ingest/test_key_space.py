"""What keys are made of: columns weigh alike, equal ids are near."""

import numpy as np
import pytest

from raclib.ingest.config import KeyConfig
from raclib.ingest.key_space import EMBEDDING_WEIGHT, MAX_ONE_HOT, KeySpace, entity_part
from raclib.ingest.keys import KeyTransform

NUM = 4000
RNG = np.random.default_rng(0)
ROWS = {
    "numbers": RNG.normal(size=(NUM, 2)).astype(np.float16),
    "categories": np.stack([RNG.integers(0, 3, NUM), RNG.integers(0, 500, NUM)], axis=1),
    "embedding": (0.01 * RNG.normal(size=(NUM, 8))).astype(np.float16),
}


def test_each_column_has_a_variance_of_one_and_the_embedding_its_weight():
    variances = KeySpace.fit(ROWS)(ROWS).var(axis=0)
    width = MAX_ONE_HOT + 1
    np.testing.assert_allclose(variances[:2], 1, rtol=0.1)
    np.testing.assert_allclose(variances[2 : 2 + width].sum(), 1, rtol=1e-3)
    np.testing.assert_allclose(variances[2 + width : 2 + 2 * width].sum(), 1, rtol=1e-3)
    np.testing.assert_allclose(variances[2 + 2 * width :].sum(), EMBEDDING_WEIGHT, rtol=1e-2)


def test_an_embedding_alone_stays_as_it_is():
    rows = {"embedding": ROWS["embedding"]}
    np.testing.assert_array_equal(KeySpace.fit(rows)(rows), ROWS["embedding"].astype(np.float32))


def test_rare_new_and_missing_categories_share_a_place():
    codes = np.array([[0], [1], [MAX_ONE_HOT], [MAX_ONE_HOT + 1], [700]])
    found = KeySpace(np.array([1.0], np.float32), 1.0)({"categories": codes})
    np.testing.assert_array_equal(found.argmax(axis=1), [0, 1, MAX_ONE_HOT, 0, 0])


def test_constant_columns_weigh_nothing_and_divide_by_nothing():
    rows = {"categories": np.zeros((5, 1), np.int32), "embedding": np.ones((5, 3), np.float16)}
    found = KeySpace.fit(rows)(rows)
    assert np.isfinite(found).all()
    assert not found.any()


def test_equal_ids_are_near_others_are_not_and_missing_ones_are_near_nothing():
    hashes = RNG.integers(-(2**63), 2**63 - 1, (500, 1))
    parts = entity_part(hashes, 1.5)
    assert parts.dtype == np.float32
    products = parts @ parts.T
    np.testing.assert_allclose(np.diag(products), 1.5**2, rtol=1e-5)
    others = products[~np.eye(500, dtype=bool)]
    assert abs(others.mean()) < 0.02
    missing = entity_part(np.array([[0], [hashes[0, 0]]]), 1.5)
    assert missing[0] @ missing[1] == 0 == missing[0] @ missing[0]


@pytest.mark.parametrize("names", [("numbers",), ("categories",), ("embedding",), tuple(ROWS), ()])
def test_keys_can_be_made_of_any_of_them(names):
    ids = RNG.integers(1, 50, (NUM, 2)) * 0x9E3779B97F4A7C1
    rows = {**{name: ROWS[name] for name in names}, "entities": ids}
    config = KeyConfig(kind="pca", dim=64, time_linear=True)
    transform = KeyTransform.fit(config, rows, 0, 100, entity_weight=1.5, at_most=True)
    keys = transform.transform(rows, np.full(NUM, 50))
    assert keys.shape == (NUM, transform.dim)
    assert np.isfinite(keys).all()
    same = (ids[:1] == ids[1:]).all(axis=1)
    apart = (ids[:1] != ids[1:]).all(axis=1)
    products = keys[1:] @ keys[0]
    assert products[same].min(initial=99) > np.quantile(products[apart], 0.95)


def test_few_rows_make_a_narrower_key():
    rows = {name: array[:3] for name, array in ROWS.items()}
    transform = KeyTransform.fit(KeyConfig(kind="pca", dim=64), rows, 0, 100, at_most=True)
    assert transform.dim == 3
