#!/usr/bin/env python3
"""From reviews to a comparison over time: a classifier with retrieval and one without."""

from pathlib import Path

from raclib.run.cli import main
from raclib.run.paths import resolve
from raclib.tasks.amazon.config import AmazonConfig

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "amazon_quickstart.yaml"


def run(config: AmazonConfig) -> None:
    """Prepares the corpus, trains both classifiers, compares them with simpler lines."""
    config = resolve(config, corpus=config.corpus_uri)
    # Here, not above: the command line is read, and explained, without PyTorch and MLflow.
    from raclib.run.start import start

    start(config)
    from raclib.serving.compare_reviews import compare_reviews

    compare_reviews(config)


if __name__ == "__main__":
    main(run, AmazonConfig, DEFAULT)
