"""The experiments: their data, their labels, their models."""
