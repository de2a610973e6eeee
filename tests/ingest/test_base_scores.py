"""The base classifier's scores as a field of a corpus."""

import numpy as np
import pytest

from raclib.corpus import CorpusWriter, Field, open_corpus
from raclib.errors import UserError
from raclib.ingest import base_scores
from raclib.ingest.base_scores import BASE, FeatureReader, load_base, to_features, with_base
from raclib.models.base import BaseConfig, linear

NUM, CUTOFF = 400, 1000
LINEAR = BaseConfig("linear", num_folds=3)
FIELDS = {
    "time": Field("int64"),
    "label": Field("int16"),
    "numbers": Field("float16", (2,)),
    "categories": Field("int32", (1,)),
    "score": Field("float32", (1,)),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """How well it is fitted matters little here."""
    monkeypatch.setattr(linear, "INVERSE_PENALTIES", (1.0,))
    monkeypatch.setattr(linear, "MAX_STEPS", 3)


def rows(seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of which three in four are known before the cutoff; ties, and labels known at it."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(NUM, 2)).astype(np.float16)
    label = (numbers[:, 0] + 0.5 * rng.normal(size=NUM) > 0).astype(np.int16)
    return {
        "time": np.sort(rng.integers(0, CUTOFF // 25, NUM) * 33),
        "label": label,
        "numbers": numbers,
        "categories": rng.integers(0, 4, (NUM, 1)).astype(np.int32),
        "score": rng.random((NUM, 1)).astype(np.float32),
    }


def write(folder, arrays):
    with CorpusWriter(str(folder), FIELDS, rows_per_shard=150) as writer:
        writer.write(arrays)
    return open_corpus(str(folder))


def test_rows_are_scored_by_classifiers_that_did_not_see_them(tmp_path):
    arrays = rows()
    corpus = write(tmp_path, arrays)
    extended, fitted = with_base(corpus, LINEAR, (4,), 2, CUTOFF)
    known = arrays["time"] < CUTOFF
    assert ((fitted.fold_N >= 0) == known).all()
    assert (extended.version, corpus.version) == (2, 1)
    kept = extended.read(BASE)
    assert (kept.dtype, kept.shape) == (np.float16, (NUM, 2))
    read = FeatureReader(corpus, (4,))
    for fold, rows_of in ((-1, ~known), (0, fitted.fold_N == 0)):
        scorer = fitted.base if fold < 0 else fitted.by_fold[fold]
        expected = scorer.log_probs(read(np.flatnonzero(rows_of)))
        np.testing.assert_allclose(kept[rows_of], expected.astype(np.float16))
    correct = kept.argmax(axis=1) == arrays["label"]
    assert correct[known].mean() > 0.8 < correct[~known].mean()


def test_labels_that_were_not_known_at_the_cutoff_are_not_looked_at(tmp_path):
    arrays = rows()
    late = arrays["time"] >= CUTOFF
    other = {name: array.copy() for name, array in arrays.items()}
    other["label"][late] = 1 - other["label"][late]
    other["numbers"][late] = -3
    found = [
        with_base(write(tmp_path / name, given), LINEAR, (4,), 2, CUTOFF)
        for name, given in (("a", arrays), ("b", other))
    ]
    (one, first), (two, second) = found
    assert first.base.to_bytes() == second.base.to_bytes()
    assert [part.to_bytes() for part in first.by_fold] == [
        part.to_bytes() for part in second.by_fold
    ]
    np.testing.assert_array_equal(one.read(BASE)[~late], two.read(BASE)[~late])
    at_cutoff = np.flatnonzero(arrays["time"] == arrays["time"][late].min())
    assert (first.fold_N[at_cutoff] == -1).all()


def test_it_is_found_again_without_a_fit_and_another_is_another_version(tmp_path, monkeypatch):
    config = BaseConfig("linear", num_folds=11)  # in a file 10 comes before 2
    corpus, fitted = with_base(write(tmp_path, rows()), config, (4,), 2, CUTOFF)
    with monkeypatch.context() as patch:
        patch.setattr(base_scores, "out_of_fold", None)
        again, loaded = with_base(open_corpus(str(tmp_path)), config, (4,), 2, CUTOFF)
    assert again.version == corpus.version
    assert loaded.base.to_bytes() == fitted.base.to_bytes() == load_base(corpus).to_bytes()
    np.testing.assert_array_equal(loaded.fold_N, fitted.fold_N)
    read, all_rows = FeatureReader(corpus, (4,)), np.arange(NUM)
    np.testing.assert_array_equal(
        loaded.log_probs(read, all_rows), fitted.log_probs(read, all_rows)
    )
    column, other = with_base(corpus, BaseConfig("column"), (4,), 2, CUTOFF)
    assert column.version == 3
    np.testing.assert_allclose(
        np.exp(other.log_probs(FeatureReader(column, (4,)), np.arange(5)))[:, 1],
        rows()["score"][:5, 0],
        atol=1e-5,
    )
    assert load_base(column).kind == "column"
    assert load_base(open_corpus(str(tmp_path), 2)).kind == "linear", "older versions keep theirs"


def test_scores_of_another_number_of_classes_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"score: .*give probabilities of 3 classes"):
        with_base(write(tmp_path, rows()), BaseConfig("column"), (4,), 3, CUTOFF)


def test_too_few_known_labels_are_one_line(tmp_path):
    corpus = write(tmp_path, rows())
    with pytest.raises(UserError, match=r"base\.num_folds: 3 folds of 0 rows whose label was know"):
        with_base(corpus, LINEAR, (4,), 2, -5)
    assert open_corpus(str(tmp_path)).version == 1


def test_a_damaged_file_is_one_line(tmp_path):
    corpus, _ = with_base(write(tmp_path, rows()), LINEAR, (4,), 2, CUTOFF)
    (file,) = (tmp_path / BASE).glob("*.npz")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"\.npz: damaged: .*; remake the corpus"):
        with_base(corpus, LINEAR, (4,), 2, CUTOFF)


def test_fields_that_a_table_lacks_are_empty():
    features = to_features({}, (), 3)
    assert (features.numbers.shape, features.categories.shape) == ((3, 0), (3, 0))
    assert features.embedding is None is features.score
    assert to_features({"score": np.ones((3, 1))}, (), 3).score.shape == (3,)
    assert to_features({"score": np.ones((3, 2))}, (), 3).score.shape == (3, 2)
