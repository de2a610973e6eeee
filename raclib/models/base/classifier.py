"""A fitted base classifier: answers for every class, in one file."""

import io
from dataclasses import dataclass
from typing import Protocol, Self
from zipfile import BadZipFile

import numpy as np
from scipy.special import logsumexp

from raclib.errors import UserError
from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features

# Probability that classes share which the fit did not see.
UNSEEN_SHARE = 1e-3
MIN_LOG_PROB = float(np.log(1e-6))
MAX_FIELD_DIM = 64


class BaseClassifier(Protocol):
    """A kind of classifier, over the classes it was fitted on. Small enough to be pickled."""

    @classmethod
    def fit(
        cls, config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
    ) -> Self:
        """Fits it.

        Args:
            config: Sizes.
            features: N rows, in the order in which their labels became known; two at least.
            label: int64 `[N]`, each of 0 to `num_classes` - 1 at least once.
            num_classes: Two or more.
            seed: The same gives the same.
        """

    def log_probs(self, features: Features) -> np.ndarray:
        """Log-probabilities, float32 `[N, num_classes]`."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of numbers or text, which `from_arrays` reads."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """The inverse of `to_arrays`."""


@dataclass(frozen=True)
class FittedBase:
    """A base classifier over all classes, those among them that it never saw.

    Attributes:
        kind: Which.
        num_classes: C.
        seen_S: Classes that the classifier knows, int64, ascending.
        classifier: Over those; None where there is but one.
        projection_CF: Makes F numbers of C centred log-probabilities, float32; None where C is at
            most 64.
    """

    kind: str
    num_classes: int
    seen_S: np.ndarray
    classifier: BaseClassifier | None
    projection_CF: np.ndarray | None

    def log_probs(self, features: Features) -> np.ndarray:
        """Log-probabilities, float32 `[N, C]`; finite, and their exponentials sum to one.

        Classes that the fit did not see share a thousandth.
        """
        log_probs_NC = np.full((len(features), self.num_classes), MIN_LOG_PROB, np.float32)
        num_unseen = self.num_classes - len(self.seen_S)
        if num_unseen:
            log_probs_NC[:] = np.log(UNSEEN_SHARE / num_unseen)
        log_probs_NC[:, self.seen_S] = np.log1p(-UNSEEN_SHARE) if num_unseen else 0.0
        if self.classifier:
            log_probs_NC[:, self.seen_S] += self.classifier.log_probs(features)
        np.maximum(log_probs_NC, MIN_LOG_PROB, out=log_probs_NC)
        return log_probs_NC - logsumexp(log_probs_NC, axis=1, keepdims=True)

    @property
    def field_dim(self) -> int:
        """Width F of what is kept of an answer in a corpus."""
        return min(self.num_classes, MAX_FIELD_DIM)

    def compress(self, log_probs_NC: np.ndarray) -> np.ndarray:
        """What a corpus keeps of log-probabilities, float16 `[N, F]`: inputs of keys and readers.

        Up to 64 classes these are the log-probabilities. Above they are a projection of them,
        centred for each row, that keeps distances between rows about (Johnson and Lindenstrauss
        1984); it is the same for every base of so many classes, so one that is refitted speaks the
        language of the last. Scores need the probabilities themselves: `log_probs`.
        """
        if self.projection_CF is None:
            return log_probs_NC.astype(np.float16)
        centred_NC = log_probs_NC - log_probs_NC.mean(axis=1, keepdims=True)
        return (centred_NC @ self.projection_CF).astype(np.float16)

    def to_bytes(self) -> bytes:
        """The classifier as a .npz file."""
        parts = self.classifier.to_arrays() if self.classifier else {}
        arrays = {f"classifier.{name}": array for name, array in parts.items()}
        if self.projection_CF is not None:
            arrays["projection_CF"] = self.projection_CF
        file = io.BytesIO()
        about = {"kind": self.kind, "num_classes": self.num_classes, "seen_S": self.seen_S}
        np.savez(file, **about, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "FittedBase":
        """The inverse of `to_bytes`.

        Raises:
            UserError: if it is not a classifier's file, or its package is not installed; the first
                begins with `name`.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = dict(file)
            return cls._from_arrays(arrays)
        except UserError:
            raise
        except (BadZipFile, EOFError, ValueError, TypeError, KeyError, OSError) as error:
            raise UserError(f"{name}: damaged: {error}; fit the base classifier again") from error

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> "FittedBase":
        kind, prefix = str(arrays["kind"]), "classifier."
        parts = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        classifier = class_of(kind).from_arrays(parts) if parts else None
        num_classes, projection_CF = int(arrays["num_classes"]), arrays.get("projection_CF")
        return cls(kind, num_classes, arrays["seen_S"], classifier, projection_CF)


def fit_base(
    config: BaseConfig, features: Features, label: np.ndarray, num_classes: int, seed: int
) -> FittedBase:
    """Fits a base classifier.

    Args:
        config: Which kind.
        features: N rows, at least one, in the order in which their labels became known.
        label: int64 `[N]`, classes 0 to `num_classes` - 1; some may be absent.
        num_classes: C.
        seed: The same gives the same.
    """
    seen_S, label_N = np.unique(label, return_inverse=True)
    assert len(label) and seen_S[0] >= 0 and seen_S[-1] < num_classes, "fit on known labels"
    kind = class_of(config.kind)
    if config.kind == "column":
        seen_S = np.arange(num_classes)
    classifier = None
    if len(seen_S) > 1:
        classifier = kind.fit(config, features, label_N, len(seen_S), seed)
    return FittedBase(config.kind, num_classes, seen_S, classifier, _projection(num_classes))


def class_of(kind: str) -> type[BaseClassifier]:
    """The class of a kind."""
    # Here, not above: PyTorch and LightGBM are slow to import, and each serves one kind.
    if kind == "linear":
        from raclib.models.base.linear import LinearBase

        return LinearBase
    if kind == "mlp":
        from raclib.models.base.network import MLPBase

        return MLPBase
    if kind == "lightgbm":
        from raclib.models.base.boosted import BoostedBase

        return BoostedBase
    if kind == "column":
        from raclib.models.base.column import ColumnBase

        return ColumnBase
    raise ValueError(f"base.kind: {kind!r} is not fitted here; linear, mlp, lightgbm, column are")


def _projection(num_classes: int) -> np.ndarray | None:
    if num_classes <= MAX_FIELD_DIM:
        return None
    # RandomState's numbers are the same in every version of NumPy.
    random = np.random.RandomState(0).standard_normal((num_classes, MAX_FIELD_DIM))
    return (random / np.sqrt(MAX_FIELD_DIM)).astype(np.float32)
