"""Retrieval-augmented nonstationary classification, trained end to end on Ray."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raclib.serving.history_classifier import HistoryClassifier

__all__ = ["HistoryClassifier"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: it takes all of torch, Ray and MLflow.
    if name in __all__:
        from raclib.serving.history_classifier import HistoryClassifier

        return HistoryClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
