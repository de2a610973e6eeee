"""Classifiers of the input alone: what retrieval must beat, and an input of keys and readers."""

from raclib.models.base.classifier import FittedBase, fit_base
from raclib.models.base.config import BaseConfig
from raclib.models.base.features import Features
from raclib.models.base.out_of_fold import OutOfFold, out_of_fold

__all__ = ["BaseConfig", "Features", "FittedBase", "OutOfFold", "fit_base", "out_of_fold"]
