"""A corpus gets other keys; every version stays readable with its own."""

import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib.corpus import CorpusWriter, Field, add_field, open_corpus
from raclib.corpus.orphans import find_orphans, remove
from raclib.errors import UserError
from raclib.ingest import encode, nca
from raclib.ingest import rekey as module
from raclib.ingest.config import KeyConfig
from raclib.ingest.key_shards import key_field
from raclib.ingest.keys import TRANSFORM, KeyTransform, describe_keys
from raclib.ingest.rekey import Rekey, rekey

NUM, CUTOFF = 1200, 900
PCA = KeyConfig("pca", dim=4)
SUPERVISED = KeyConfig("supervised", dim=6, nca_dim=3)


def labels_of(rows) -> np.ndarray:
    return rows["label"].astype(np.int64)


def wanted(config: KeyConfig = SUPERVISED, until: int = CUTOFF, **changes) -> Rekey:
    return Rekey(config, until, CUTOFF, labels_of, **changes)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(nca, "NUM_STEPS", 60)
    monkeypatch.setattr(nca, "BATCH_ROWS", 256)


def make_rows(num: int = NUM, seed: int = 0) -> dict[str, np.ndarray]:
    """One column of ten tells the label; times have ties, of which some are the cutoff."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(num, 10)).astype(np.float16)
    return {
        "time": np.sort(rng.integers(0, NUM // 3, num) * 3),
        "label": np.digitize(numbers[:, 3], [-0.5, 0.5]).astype(np.int16),
        "numbers": numbers,
        "entities": rng.integers(1, 40, (num, 1)) * 0x9E3779B97F4A7C1,
    }


def write(folder, rows, rows_per_shard: int = 250):
    """A corpus with keys by PCA, as it is made at first."""
    known = {name: array[rows["time"] < CUTOFF] for name, array in rows.items()}
    transform = KeyTransform.fit(PCA, known, 0, CUTOFF, entity_weight=1.0)
    transform.save(str(folder))
    fields = {name: Field(array.dtype.name, array.shape[1:]) for name, array in rows.items()}
    said = {"key": describe_keys(PCA), TRANSFORM: transform.checksum}
    keys = transform.transform(rows, rows["time"]).astype(np.float16)
    with CorpusWriter(
        str(folder), {**fields, "key": key_field(transform)}, rows_per_shard, provenance=said
    ) as writer:
        writer.write({**rows, "key": keys})
    return open_corpus(str(folder))


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "c", make_rows())


def keys_are_those_of_the_transform(corpus) -> bool:
    rows = {name: corpus.read(name) for name in corpus.fields}
    keys = KeyTransform.of(corpus).transform(rows, rows["time"])
    return np.allclose(corpus.read("key"), keys, atol=1e-3)


def agreement(corpus, num: int = 10) -> float:
    """Share of the nearest rows known before, of those that came later, with the row's label."""
    keys, label = corpus.read("key").astype(np.float32), corpus.read("label")
    place = np.arange(KeyTransform.of(corpus).parts["nca"].stop)
    known = corpus.read("time") < CUTOFF
    old, new = keys[known][:, place], keys[~known][:, place]
    scores = new @ old.T - (old**2).sum(axis=1) / 2
    near = scores.argsort(axis=1)[:, -num:]
    return float((label[known][near] == label[~known][:, None]).mean())


def test_every_version_has_its_keys_and_its_transform(corpus):
    before = corpus.read("key")
    later = rekey(corpus, wanted())
    assert (later.version, later.fields["key"]) == (2, Field("float16", (9,)))
    assert later.provenance["key"] == describe_keys(SUPERVISED)
    assert later.provenance["key_fit"]["past_cutoff"] is False
    assert keys_are_those_of_the_transform(later)
    first = open_corpus(corpus.uri, 1)
    np.testing.assert_array_equal(first.read("key"), before)
    assert keys_are_those_of_the_transform(first)
    for name in corpus.fields.keys() - {"key"}:
        assert later.shards[0].files[name] == first.shards[0].files[name]


def test_nearest_rows_agree_more_on_the_label(corpus):
    before = agreement(corpus)
    assert agreement(rekey(corpus, wanted())) > before + 0.15


def test_keys_that_are_asked_for_again_are_there(corpus):
    later = rekey(corpus, wanted())
    assert rekey(later, wanted()).version == later.version
    assert rekey(later, wanted(until=CUTOFF - 100)).version == later.version + 1


def test_later_keys_keep_the_coordinates(corpus):
    """What was trained on the first keys reads the refreshed ones."""
    first = rekey(corpus, wanted(until=600))
    second = rekey(first, wanted(until=NUM))
    assert second.provenance["key_fit"]["past_cutoff"] is True
    old, new = first.read("key").astype(np.float32), second.read("key").astype(np.float32)
    assert not np.array_equal(old, new)
    place = KeyTransform.of(first).parts["place"]
    assert np.abs(old - new)[:, place].mean() < 0.5 * np.abs(old[:, place]).mean()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), until=st.integers(100, NUM - 100), known=st.booleans())
def test_keys_are_fitted_on_labels_known_until_then_alone(seed, until, known):
    rows = make_rows(400, seed)
    other = {name: array.copy() for name, array in rows.items()}
    late = np.flatnonzero(rows["time"] >= until)
    change = np.flatnonzero(rows["time"] < until)[-1:] if known else late
    other["label"][change] = (other["label"][change] + 1) % 3
    if not known:
        other["numbers"][change] = 50
    found = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nca, "NUM_STEPS", 3)
        for name, given_rows in (("one", rows), ("other", other)):
            # The first keys are the same, for these may see no more either.
            corpus = write(Path(folder) / name, {**given_rows, "numbers": rows["numbers"]})
            starts = corpus.starts
            corpus = add_field(
                corpus,
                "numbers",
                corpus.fields["numbers"],
                lambda n, s=starts, r=given_rows: r["numbers"][s[n] : s[n + 1]],
            )
            found.append(KeyTransform.of(rekey(corpus, wanted(until=until))).to_bytes())
    assert (found[0] == found[1]) is not known


def test_a_failure_leaves_the_old_version_and_is_made_good(corpus, monkeypatch):
    made = []

    def fail(*given):
        made.append(1)
        if len(made) == 3:
            raise RuntimeError
        return make_keys(*given)

    make_keys = module.make_keys
    with monkeypatch.context() as patch:
        patch.setattr(module, "make_keys", fail)
        with pytest.raises(RuntimeError):
            rekey(corpus, wanted())
    newest = open_corpus(corpus.uri)
    assert newest.version == 1
    assert keys_are_those_of_the_transform(newest)
    orphans = find_orphans(corpus.uri, -60)
    assert len(orphans) == 2 + 1  # two shards' keys and their transform
    later = rekey(newest, wanted())
    assert keys_are_those_of_the_transform(later)
    remove(corpus.uri, list(find_orphans(corpus.uri, -60)))
    for version in (1, 2):
        kept = open_corpus(corpus.uri, version)
        kept.verify()
        assert keys_are_those_of_the_transform(kept)


def test_two_at_once(corpus, monkeypatch):
    make_keys = module.make_keys

    def overtaken(*given):
        if open_corpus(corpus.uri).version == 1:
            with monkeypatch.context() as patch:
                patch.setattr(module, "make_keys", make_keys)
                rekey(open_corpus(corpus.uri), wanted(KeyConfig("random", dim=3)))
        return make_keys(*given)

    monkeypatch.setattr(module, "make_keys", overtaken)
    with pytest.raises(UserError, match="published by another writer"):
        rekey(corpus, wanted())
    assert keys_are_those_of_the_transform(open_corpus(corpus.uri))
    with pytest.raises(UserError, match="version 1 is not the newest"):
        rekey(corpus, wanted())


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "MAX_SAMPLE_ROWS", 400)

    def peak(num: int) -> int:
        corpus = write(tmp_path / str(num), make_rows(num), rows_per_shard=2000)
        tracemalloc.start()
        rekey(corpus, wanted(entity_weight=1.0))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(2000)
    small, large = peak(8000), peak(48_000)
    key_bytes = 2 * (9 + 16) * 40_000
    # Times of all rows, 8 bytes each, are read at once.
    assert large - small < 8 * 40_000 + 200_000 < key_bytes / 3


def test_the_base_classifiers_scores_can_be_part_of_keys(corpus):
    with pytest.raises(UserError, match=r"key\.base_weight: the corpus has no scores"):
        rekey(corpus, wanted(base_weight=0.5))
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(3), NUM)).astype(np.float16)
    starts = corpus.starts
    scored = add_field(
        corpus,
        "base",
        Field("float16", (3,)),
        lambda n: scores[starts[n] : starts[n + 1]],
        {"base": {"kind": "linear"}},
    )
    later = rekey(scored, wanted(base_weight=0.5, entity_weight=1.0))
    transform = KeyTransform.of(later)
    assert transform.parts["base"] == slice(9, 12)
    assert transform.parts["entity"] == slice(12, 28)
    assert keys_are_those_of_the_transform(later)
    assert later.provenance["key_fit"]["base"] == {"kind": "linear"}


def test_a_trained_metric(corpus):
    metric_wm = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    later = rekey(corpus, wanted(metric_wm=metric_wm))
    assert later.fields["key"].shape == (8,)
    assert keys_are_those_of_the_transform(later)
    assert rekey(later, wanted(metric_wm=metric_wm)).version == 2
    assert rekey(later, wanted(metric_wm=2 * metric_wm)).version == 3


def test_mistakes_are_one_line(corpus):
    with pytest.raises(UserError, match="until: no label was known by then"):
        rekey(corpus, wanted(until=0))
    with pytest.raises(UserError, match=r"key\.dim: 11 is more than the embedding's 10"):
        rekey(corpus, wanted(replace(SUPERVISED, dim=11)))
    assert open_corpus(corpus.uri).version == 1
    assert find_orphans(corpus.uri, -60) == {}
