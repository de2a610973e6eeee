"""Other keys for a corpus that is there: a new version, in which nothing else is new."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm
from xxhash import xxh3_128_hexdigest

from raclib.arrays import Arrays
from raclib.corpus import Corpus, add_field
from raclib.corpus.corpus import latest_version
from raclib.corpus.manifest import TIME
from raclib.corpus.reader import take_from
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE
from raclib.ingest.config import KeyConfig
from raclib.ingest.encode import sample_rows
from raclib.ingest.key_shards import key_field, key_inputs, make_keys
from raclib.ingest.keys import KEY_FIT, TRANSFORM, KeyTransform, describe_keys


@dataclass(frozen=True)
class Rekey:
    """Which keys a corpus gets.

    Attributes:
        config: Their kind and widths.
        until: They are fitted on rows whose label was known before this, ms since 1970.
        cutoff: That of the corpus; keys that saw later labels are marked, and no run is compared on
            them.
        labels: Makes labels, int64, of all fields of rows; called for `supervised` only.
        entity_weight, base_weight, at_most: See `KeyTransform.fit`.
        metric_wm: A trained map of the part `place`, to take the place of the part `nca`.
        said: What else the corpus shall say.
    """

    config: KeyConfig
    until: int
    cutoff: int
    labels: Callable[[Arrays], np.ndarray]
    entity_weight: float = 0.0
    base_weight: float = 0.0
    at_most: bool = False
    metric_wm: np.ndarray | None = None
    said: Mapping[str, Any] | None = None


def rekey(corpus: Corpus, wanted: Rekey) -> Corpus:
    """Publishes the next version of a corpus: the same rows with other keys.

    Keys are made shard by shard. Where they are of the shape of the earlier ones, their coordinates
    are as near to those as can be, so that what was trained on the old may read the new. Readers of
    older versions go on with their keys. Until the last shard is written nothing is published; done
    again after a failure, all are written again.

    Args:
        corpus: The newest version.
        wanted: Which keys.

    Returns:
        The version that was published, or the same corpus if its keys are these.

    Raises:
        UserError: if no label was known by then, there are no scores of a base classifier where
            they are asked for, keys cannot be that wide, or another version was published.
    """
    said = json.loads(json.dumps(_describe(corpus, wanted)))
    if all(corpus.provenance.get(name) == value for name, value in said.items()):
        return corpus
    _check(corpus, wanted)
    take = take_from(corpus)
    transform = _fit(corpus, wanted, take)
    # Before the version that names it: a version is never without its transform.
    transform.save(corpus.uri)
    inputs = (*key_inputs(corpus), *([BASE] if wanted.base_weight else []))
    with tqdm(total=len(corpus), desc="keys", unit=" rows") as progress:

        def read(start: int, lo: int, hi: int) -> Arrays:
            progress.update(hi - lo)
            return take(np.arange(start + lo, start + hi), inputs)

        def make_rows(shard: int) -> np.ndarray:
            num_rows, start = corpus.shards[shard].num_rows, int(corpus.starts[shard])
            return make_keys(transform, num_rows, partial(read, start))

        said[TRANSFORM] = transform.checksum
        return add_field(corpus, "key", key_field(transform), make_rows, said)


def _fit(
    corpus: Corpus, wanted: Rekey, take: Callable[[np.ndarray, tuple[str, ...]], Arrays]
) -> KeyTransform:
    """The transform, fitted on a sample of what was known, like the first one of a corpus."""
    rows = take(sample_rows(corpus.num_before(wanted.until)), tuple(corpus.fields))
    assert (rows[TIME] < wanted.until).all(), "keys are fitted on what was known"
    assert corpus.time_range is not None, "rows were known"
    transform = KeyTransform.fit(
        wanted.config,
        rows,
        corpus.time_range[0],
        wanted.cutoff,
        wanted.labels(rows) if wanted.config.kind == "supervised" else None,
        entity_weight=wanted.entity_weight,
        base_weight=wanted.base_weight,
        at_most=wanted.at_most,
        like=KeyTransform.of(corpus),
    )
    if wanted.metric_wm is not None:
        transform = transform.with_metric(wanted.metric_wm, rows)
    return transform


def _describe(corpus: Corpus, wanted: Rekey) -> dict[str, Any]:
    """What the version says of its keys, all but their transform."""
    metric = wanted.metric_wm
    fitted = {
        "until": wanted.until,
        "past_cutoff": wanted.until > wanted.cutoff,
        "num_known": corpus.num_before(wanted.until),
        "base_weight": wanted.base_weight,
        BASE: corpus.provenance.get(BASE) if wanted.base_weight else None,
        "metric": None if metric is None else xxh3_128_hexdigest(metric.tobytes()),
    }
    return {**(wanted.said or {}), "key": describe_keys(wanted.config), KEY_FIT: fitted}


def _check(corpus: Corpus, wanted: Rekey) -> None:
    if latest_version(corpus.uri) != corpus.version:
        raise UserError(
            f"{corpus.uri}: version {corpus.version} is not the newest; open that instead"
        )
    if not corpus.num_before(wanted.until):
        first = np.datetime64(corpus.time_range[0], "ms") if corpus.time_range else "never"
        raise UserError(
            f"until: no label was known by then, the first at {first}; give a later one"
        )
    if wanted.base_weight and BASE not in corpus.fields:
        raise UserError(
            "key.base_weight: the corpus has no scores of a base classifier; train on it with "
            "another base.kind than perceiver first, or give 0"
        )
