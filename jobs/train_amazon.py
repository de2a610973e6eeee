#!/usr/bin/env python3
"""From reviews to a comparison over time: a classifier with retrieval and one without."""

from pathlib import Path

from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.serving.compare_reviews import compare_reviews
from raclib.tasks.amazon.config import AmazonConfig

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "amazon_quickstart.yaml"


def run(config: AmazonConfig) -> None:
    """Prepares the corpus, trains both classifiers, compares them with simpler lines."""
    compare_reviews(resolve(config, corpus=config.corpus_uri))


if __name__ == "__main__":
    main(run, AmazonConfig, DEFAULT)
