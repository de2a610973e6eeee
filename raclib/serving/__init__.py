"""Answers outside training."""
