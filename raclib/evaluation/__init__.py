"""Predictions, what they are worth over time, and what they are compared with."""
