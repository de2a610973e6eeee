"""Keys that know labels: rows of one label are near, parts are of one size, labels are needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.ingest import nca
from raclib.ingest.config import KeyConfig
from raclib.ingest.keys import KeyTransform
from raclib.ingest.projection import fit_projection

NUM = 1500
RNG = np.random.default_rng(0)
NUMBERS_ND = RNG.normal(size=(NUM, 10)).astype(np.float16)
# One column of ten tells the label.
LABEL_N = np.digitize(NUMBERS_ND[:, 3], [-0.5, 0.5])
ROWS = {"numbers": NUMBERS_ND}
FIT_ON = 1000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A table of ten columns needs no more."""
    monkeypatch.setattr(nca, "NUM_STEPS", 60)
    monkeypatch.setattr(nca, "BATCH_ROWS", 256)


def fit(rows=ROWS, label=LABEL_N, **changes) -> KeyTransform:
    config = KeyConfig(**{"kind": "supervised", "dim": 8, "nca_dim": 4, **changes})
    known = {name: array[:FIT_ON] for name, array in rows.items()}
    return KeyTransform.fit(config, known, 0, 100, label[:FIT_ON])


def keys_of(transform: KeyTransform, rows=ROWS) -> np.ndarray:
    return transform.transform(rows, np.zeros(NUM)).astype(np.float16).astype(np.float32)


def squared(keys_Nd: np.ndarray) -> np.ndarray:
    """Squared distances as a searcher computes them."""
    squares_N = (keys_Nd**2).sum(axis=1)
    return squares_N[:, None] + squares_N - 2 * keys_Nd @ keys_Nd.T


def agreement(keys_Nd: np.ndarray, num: int = 10) -> float:
    """Share of the nearest rows fitted on, of rows that were not, that have the row's label."""
    near = squared(keys_Nd)[FIT_ON:, :FIT_ON].argsort(axis=1)[:, :num]
    return float((LABEL_N[near] == LABEL_N[FIT_ON:, None]).mean())


def test_nearest_rows_agree_on_the_label_more_than_without_it():
    unsupervised = fit(kind="pca", normalize=False)
    found = {
        "pca": agreement(keys_of(unsupervised)),
        "both": agreement(keys_of(fit())),
        "nca": agreement(keys_of(fit())[:, fit().parts["nca"]]),
    }
    assert found["both"] > found["pca"] + 0.1
    assert found["nca"] > 0.8


def test_each_part_has_half_of_a_unit_mean_squared_distance():
    transform = fit(time_linear=True)
    keys = transform.transform(ROWS, np.zeros(NUM))[:FIT_ON]
    for name in ("place", "nca"):
        assert squared(keys[:, transform.parts[name]]).mean() == pytest.approx(0.5, rel=1e-3)
    assert [transform.parts[name] for name in ("place", "nca", "base", "time")] == [
        slice(0, 8),
        slice(8, 12),
        slice(12, 12),
        slice(12, 13),
    ]


def test_the_place_is_that_of_pca():
    transform, plain = fit(), fit(kind="pca", normalize=False)
    place = keys_of(transform)[:, transform.parts["place"]]
    ratio = place / keys_of(plain)
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.05)


def test_it_is_the_same_each_time_and_depends_on_labels():
    assert fit().checksum == fit().checksum
    other = LABEL_N.copy()
    other[5] = (other[5] + 1) % 3
    assert fit(label=other).checksum != fit().checksum


def test_rows_without_a_label_do_not_move_the_map():
    label = np.where(np.arange(NUM) % 2, LABEL_N, -1)
    rows, half = {"numbers": NUMBERS_ND.copy()}, np.flatnonzero(label[:FIT_ON] < 0)
    rows["numbers"][half] = rows["numbers"][half[::-1]]  # the same places, so the same PCA
    one, other = fit(rows=rows, label=label), fit(label=label)
    nca = one.parts["nca"]
    np.testing.assert_allclose(
        one.projection_Dd[:, nca], other.projection_Dd[:, nca], rtol=1e-2, atol=1e-3
    )


def test_labels_of_one_class_leave_pca():
    transform = fit(label=np.ones(NUM, np.int64))
    place, nca = (transform.projection_Dd[:, transform.parts[name]] for name in ("place", "nca"))
    ratio = nca / place[:, :4]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_places_that_are_all_alike_have_keys(value):
    rows = {"numbers": np.full((NUM, 3), value, np.float16)}
    assert np.isfinite(keys_of(fit(rows=rows, dim=2), rows)).all()


@settings(max_examples=20, deadline=None)
@given(
    num=st.integers(2, 60),
    width=st.integers(1, 12),
    dim=st.integers(1, 20),
    nca_dim=st.integers(1, 20),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_any_table_has_keys_that_half_precision_holds(num, width, dim, nca_dim, scale):
    rng = np.random.default_rng(num)
    rows = {"embedding": (scale * rng.normal(size=(num, width))).astype(np.float32)}
    config = KeyConfig("supervised", dim, nca_dim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nca, "NUM_STEPS", 5)
        transform = KeyTransform.fit(
            config, rows, 0, 100, rng.integers(-1, 3, num), at_most=True, entity_weight=1.0
        )
    keys = transform.transform(rows, np.zeros(num)).astype(np.float16)
    assert keys.shape == (num, transform.dim)
    assert transform.dim == min(dim, num, width) + min(nca_dim, num, width)
    assert np.isfinite(keys).all()
    assert squared(keys.astype(np.float32)).mean() == pytest.approx(1, rel=0.05)


def test_ids_weigh_in_units_of_the_rest():
    ids = RNG.integers(-(2**63), 2**63 - 1, (NUM, 1))
    rows = {**ROWS, "entities": ids}
    config = KeyConfig("supervised", 8, 4)
    transform = KeyTransform.fit(config, rows, 0, 100, LABEL_N, entity_weight=1.5)
    ids_part = keys_of(transform, rows)[:, transform.parts["entity"]]
    assert squared(ids_part).mean() == pytest.approx(1.5**2, rel=0.02)


def test_the_base_classifiers_part_has_the_size_asked_for():
    log_probs = np.log(RNG.dirichlet(np.ones(3), NUM)).astype(np.float16)
    rows = {**ROWS, "base": log_probs}
    config = KeyConfig("supervised", 8, 4)
    transform = KeyTransform.fit(config, rows, 0, 100, LABEL_N, base_weight=0.7)
    keys = transform.transform(rows, np.zeros(NUM))
    part = keys[:, transform.parts["base"]]
    assert squared(part).mean() == pytest.approx(0.7**2, rel=1e-3)
    # Log-odds: what is added to all classes of a row changes nothing.
    shifted = {**rows, "base": log_probs - 2}
    np.testing.assert_allclose(transform.transform(shifted, np.zeros(NUM)), keys, atol=0.02)


def test_later_keys_speak_the_language_of_earlier_ones():
    earlier = fit()
    config = KeyConfig("supervised", 8, 4)
    late = {"numbers": NUMBERS_ND[500:]}
    apart = KeyTransform.fit(config, late, 0, 100, LABEL_N[500:])
    later = KeyTransform.fit(config, late, 0, 100, LABEL_N[500:], like=earlier)
    np.testing.assert_allclose(squared(keys_of(later)), squared(keys_of(apart)), atol=0.02)
    first, second, unturned = (keys_of(one) for one in (earlier, later, apart))
    assert np.abs(second - first).mean() < 0.5 * np.abs(unturned - first).mean()
    assert np.abs(second - first).mean() < 0.5 * np.abs(first).mean()


def test_a_trained_metric_takes_the_place_of_the_map():
    transform = fit()
    metric_wm = RNG.normal(size=(8, 3)).astype(np.float32)
    known = {"numbers": NUMBERS_ND[:FIT_ON]}
    found = transform.with_metric(metric_wm, known)
    assert found.parts["place"] == transform.parts["place"]
    assert found.parts["nca"] == slice(8, 11)
    keys = found.transform(known, np.zeros(FIT_ON))
    place, mapped = (keys[:, found.parts[name]] for name in ("place", "nca"))
    ratio = mapped / (place @ metric_wm)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-2)
    assert squared(mapped).mean() == pytest.approx(0.5, rel=1e-3)


def test_supervised_keys_need_labels():
    with pytest.raises(AssertionError, match="labels"):
        fit_projection(KeyConfig("supervised", 2), NUMBERS_ND.astype(np.float32), None)
