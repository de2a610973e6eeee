"""Learned retrieval: keys on the device, exact draws from them, estimators to learn queries."""

from raclib.retrieval.draw import Draw, draw
from raclib.retrieval.table import QuantizedKeys, quantize

__all__ = ["Draw", "QuantizedKeys", "draw", "quantize"]
