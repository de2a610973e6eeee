#!/usr/bin/env python3
"""From reviews to a corpus: validated, sorted by time, embedded, keyed."""

from datetime import UTC, datetime
from pathlib import Path

from raclib.corpus import Corpus
from raclib.run.cli import main
from raclib.run.cluster import connect
from raclib.run.paths import resolve
from raclib.run.shared import check_shared
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "amazon_quickstart.yaml"


def run(config: AmazonConfig) -> None:
    """Prepares the corpus and says what it holds."""
    config = resolve(config, corpus=config.corpus_uri)
    connect(config.num_workers)
    check_shared(storage_path=config.storage_path, corpus=config.corpus_uri)
    lines = describe(prepare_reviews(config))
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        print(f"{name:{width}}{value}")


def describe(corpus: Corpus) -> dict[str, str]:
    """What a corpus holds, as lines of a table."""
    assert corpus.time_range, "a prepared corpus has rows"
    first, last = (datetime.fromtimestamp(ms / 1000, UTC).date() for ms in corpus.time_range)
    skipped = corpus.provenance["skipped"]
    lines = {"corpus": corpus.uri, "version": str(corpus.version)}
    lines["reviews"] = f"{len(corpus):,} in {len(corpus.shards)} shards"
    lines["from, to"] = f"{first}, {last}"
    lines["skipped"] = f"{sum(skipped.values()):,} of {corpus.provenance['num_lines']:,} lines"
    lines |= {f"  {reason}": f"{count:,}" for reason, count in skipped.items()}
    return lines | {
        f"field {name}": f"{field.dtype} {list(field.shape)}"
        for name, field in corpus.fields.items()
    }


if __name__ == "__main__":
    main(run, AmazonConfig, DEFAULT)
