#!/usr/bin/env python3
"""Scores the rows of a table, or reviews, by a trained model, with the past rows that decided."""

from raclib.run.cli import main
from raclib.serving.score import ScoreConfig, score


def run(config: ScoreConfig) -> None:
    """Scores, and says where the answers are."""
    print(score(config))


if __name__ == "__main__":
    main(run, ScoreConfig, None)
