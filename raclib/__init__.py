"""Retrieval-augmented nonstationary classification, trained end to end on Ray."""
