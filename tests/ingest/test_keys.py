"""Keys: projections, unit length, time features of a known size, a file without pickle."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from xxhash import xxh3_128_hexdigest

from raclib.corpus import Corpus, Field
from raclib.corpus.manifest import Manifest
from raclib.errors import UserError
from raclib.ingest.config import KeyConfig
from raclib.ingest.keys import TRANSFORM, KeyTransform, describe_keys, transform_path

FIRST, CUTOFF = 1_000_000, 5_000_000
ROWS_ND = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float16)
ROWS = {"embedding": ROWS_ND}
LABEL_N = (ROWS_ND[:, -1] > 0).astype(np.int64)
TIMES_N = np.linspace(FIRST, 2 * CUTOFF, 200).astype(np.int64)


def fit(**changes) -> KeyTransform:
    return KeyTransform.fit(KeyConfig(**{"dim": 4, **changes}), ROWS, FIRST, CUTOFF, LABEL_N)


def _keys(config: KeyConfig, rows_ND: np.ndarray) -> np.ndarray:
    rows = {"embedding": rows_ND}
    return KeyTransform.fit(config, rows, FIRST, CUTOFF).transform(rows, np.zeros(len(rows_ND)))


def test_first_takes_the_first_dimensions():
    keys = fit(normalize=False).transform(ROWS, TIMES_N)
    assert keys.dtype == np.float32
    np.testing.assert_array_equal(keys, ROWS_ND[:, :4].astype(np.float32))


def test_pca_is_that_of_the_rows_fitted_on():
    keys = fit(kind="pca", normalize=False).transform(ROWS, TIMES_N)
    expected = PCA(4, random_state=0).fit_transform(ROWS_ND.astype(np.float32))
    np.testing.assert_allclose(np.abs(keys), np.abs(expected), atol=1e-4)


def test_random_projection_nearly_keeps_products():
    rows = np.random.default_rng(1).normal(size=(50, 4000)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[1::2] = rows[::2] + 0.01 * rows[1::2]
    config = KeyConfig(kind="random", dim=400, normalize=False)
    keys = _keys(config, rows)
    assert np.abs(keys @ keys.T - rows @ rows.T).max() < 0.25
    np.testing.assert_array_equal(keys, _keys(config, rows))


@pytest.mark.parametrize("kind", ["first", "pca", "random"])
def test_text_part_has_unit_length_and_zero_stays_zero(kind):
    transform = fit(kind=kind)
    keys = transform.transform(ROWS, TIMES_N)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, rtol=1e-5)
    zero = transform.transform({"embedding": transform.mean_D[None]}, TIMES_N[:1])
    np.testing.assert_array_equal(zero, np.zeros((1, 4)))


def test_time_features_are_linear_and_of_doubling_frequency():
    transform = fit(time_linear=True, time_fourier=2, time_weight=3**0.5)
    times = np.array([FIRST, CUTOFF, 2 * CUTOFF - FIRST])
    keys = transform.transform({"embedding": ROWS_ND[:3]}, times)
    assert keys.shape == (3, transform.dim) == (3, 4 + 1 + 4)
    tau = np.array([0, 1, 2])
    np.testing.assert_allclose(keys[:, 4], tau, atol=1e-6)
    for pair, frequency in enumerate([1, 2]):
        angle = np.pi / 2 * frequency * tau
        np.testing.assert_allclose(keys[:, 5 + pair], np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(keys[:, 7 + pair], np.cos(angle), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(
    linear=st.booleans(),
    fourier=st.integers(0, 4),
    weight=st.floats(0.01, 100),
    normalize=st.booleans(),
)
def test_time_part_is_time_weight_times_the_text_part_at_the_cutoff(
    linear, fourier, weight, normalize
):
    transform = fit(
        time_linear=linear, time_fourier=fourier, time_weight=weight, normalize=normalize
    )
    at_cutoff = transform.transform(ROWS, np.full(200, CUTOFF))
    text, time = at_cutoff[:, :4], at_cutoff[:, 4:]
    text_length = np.sqrt((text**2).sum(axis=1).mean())
    expected = weight * text_length if linear or fourier else 0
    np.testing.assert_allclose(np.linalg.norm(time, axis=1), expected, rtol=1e-4)


def made_by(transform: KeyTransform, uri: object) -> Corpus:
    """A version of a corpus that says that a transform made its keys."""
    manifest = Manifest(1, {"time": Field("int64")}, (), {TRANSFORM: transform.checksum})
    return Corpus(str(uri), manifest)


@pytest.mark.parametrize("kind", ["first", "pca", "random", "supervised"])
def test_is_saved_without_pickle_and_transforms_the_same(tmp_path, kind):
    transform = fit(kind=kind, time_linear=True, time_fourier=1)
    other = fit(kind=kind, time_linear=True, time_fourier=2)
    for one in (transform, other):
        one.save(str(tmp_path))
    with np.load(tmp_path / transform_path(transform.checksum), allow_pickle=False) as arrays:
        assert set(arrays) >= {"mean_D", "projection_Dd"}
    loaded = KeyTransform.of(made_by(transform, tmp_path))
    np.testing.assert_array_equal(
        loaded.transform(ROWS, TIMES_N), transform.transform(ROWS, TIMES_N)
    )
    assert loaded.checksum == transform.checksum != other.checksum
    assert loaded.parts == transform.parts
    assert KeyTransform.of(made_by(other, tmp_path)).checksum == other.checksum


def test_a_corpus_of_one_transform_is_read(tmp_path):
    """As raclib wrote it before a corpus could get other keys."""
    transform = fit(kind="pca", time_linear=True)
    new = {"num_nca", "base_dim", "base_scale"}
    old = {name: value for name, value in asdict(transform).items() if name not in new}
    np.savez(tmp_path / "key_transform.npz", **old)
    checksum = xxh3_128_hexdigest((tmp_path / "key_transform.npz").read_bytes())
    manifest = Manifest(1, {"time": Field("int64")}, (), {TRANSFORM: checksum})
    loaded = KeyTransform.of(Corpus(str(tmp_path), manifest))
    np.testing.assert_array_equal(
        loaded.transform(ROWS, TIMES_N), transform.transform(ROWS, TIMES_N)
    )
    assert loaded.parts["place"] == slice(0, 4)
    assert loaded.parts["time"] == slice(4, 5)


def test_damaged_or_missing_files_are_errors(tmp_path):
    corpus = made_by(fit(), tmp_path)
    with pytest.raises(UserError, match=r"key_transform\.npz: missing"):
        KeyTransform.of(corpus)
    fit().save(str(tmp_path))
    path = tmp_path / transform_path(fit().checksum)
    data = path.read_bytes()
    other = fit(kind="pca").to_bytes()
    for damaged in (b"", data[:-200], data[:300] + b"x" * 40 + data[340:], other):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"\.npz: damaged"):
            KeyTransform.of(corpus)
    with pytest.raises(UserError, match="its keys were not made here"):
        KeyTransform.of(Corpus(str(tmp_path), Manifest(1, {"time": Field("int64")}, ())))


def test_too_wide_keys_are_errors():
    with pytest.raises(UserError, match=r"key\.dim: 13 is more than the embedding's 12; lower it"):
        fit(dim=13)
    with pytest.raises(UserError, match=r"key\.dim: 4 is more than the 3 rows before the cutoff"):
        KeyTransform.fit(KeyConfig(kind="pca", dim=4), {"embedding": ROWS_ND[:3]}, FIRST, CUTOFF)


def test_a_corpus_says_of_its_keys_what_matters_to_their_kind():
    assert "nca_dim" in describe_keys(KeyConfig("supervised"))
    assert "nca_dim" not in describe_keys(KeyConfig("pca"))
