"""From reviews to a corpus: read, sort, embed, key, publish. A killed run continues."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
import ray.data
from tqdm import tqdm

from raclib.corpus import Corpus, open_corpus, publish
from raclib.corpus.corpus import latest_version
from raclib.corpus.files import normalise
from raclib.errors import UserError
from raclib.ingest.embed import ShardEncoder, ShardEncoderActor, embedded_fields
from raclib.ingest.encoders import check_encoder, describe_encoder
from raclib.ingest.key_shards import (
    KeyWriter,
    finished_shards,
    key_field,
    keyed_by,
    read_sample,
)
from raclib.ingest.keys import KeyTransform, describe_keys
from raclib.ingest.precomputed import PrecomputedEmbeddings
from raclib.ingest.sort import sort_reviews
from raclib.ingest.sources import choose_source
from raclib.ingest.staging import EMBEDDED, Layout, Staging
from raclib.run.cluster import quiet_ray_data, this_node
from raclib.tasks.amazon.config import AmazonConfig, EncoderConfig, date_to_ms

SOURCES = ("reviews", "category", "generated")


def prepare(config: AmazonConfig) -> Corpus:
    """The corpus of a configuration; made from its reviews unless it is there.

    Fields: `embedding` float16 [D], `key` float16 [d], `rating` and `helpful_vote` float32,
    `verified_purchase` int8 and `time` int64, the review's timestamp. Ray must be initialised. What
    is unfinished lies in `<corpus>.staging`; the same configuration continues it.

    Raises:
        UserError: if the reviews, the encoder or the configuration are at fault, or another corpus
            is there.
    """
    uri = normalise(config.corpus_uri)
    config = _with_absolute_paths(config)
    staging = Staging(uri)
    is_published = latest_version(uri) > 0
    request = _describe(config, is_published)
    if is_published:
        corpus = _open(uri, request)
    else:
        check_encoder(config.encoder)
        corpus = _make(config, request, staging)
    staging.remove()
    return corpus


def _describe(config: AmazonConfig, is_published: bool) -> dict[str, Any]:
    """The part of the provenance that is known beforehand; two that differ are two corpora."""
    request = {
        "encoder": describe_encoder(config.encoder),
        "key": describe_keys(config.key),
        "cutoff": config.rule.cutoff,
    }
    # A finished corpus needs its reviews no more.
    if not is_published or any(getattr(config, name) is not None for name in SOURCES):
        request["reviews"] = choose_source(config).describe()
    return request


def _open(uri: str, request: dict[str, Any]) -> Corpus:
    open_corpus(uri)
    try:
        return open_corpus(uri, expect=request)
    except UserError as error:
        raise UserError(f"{error}; or give another --name or --corpus") from None


def _make(config: AmazonConfig, request: dict[str, Any], staging: Staging) -> Corpus:
    cutoff = date_to_ms(config.rule.cutoff)
    layout = _sort(config, request, staging, cutoff)
    _embed(config.encoder, staging, layout)
    sample_ND = read_sample(staging, len(layout.num_rows))
    transform = KeyTransform.fit(config.key, sample_ND, layout.first, cutoff)
    transform.save(staging.corpus_uri)
    _run_shards(
        "keys", KeyWriter(staging, transform), keyed_by(transform), staging, layout, num_cpus=1
    )
    first = staging.finished(EMBEDDED)[0]
    fields = {**embedded_fields(first["dim"]), "key": key_field(transform)}
    provenance = {
        **request,
        "encoder_revision": first["revision"],
        "key_transform": transform.checksum,
        "num_lines": layout.num_lines,
        "skipped": layout.skipped,
    }
    return publish(
        staging.corpus_uri, fields, finished_shards(staging, transform), provenance, version=1
    )


def _sort(config: AmazonConfig, request: dict[str, Any], staging: Staging, cutoff: int) -> Layout:
    """Sorts the reviews, unless an earlier run of the same request did."""
    # Other keys need no other embeddings.
    claim = {name: value for name, value in request.items() if name != "key"}
    claim["rows_per_shard"] = config.rows_per_shard
    layout = staging.resume(claim)
    if layout is not None:
        return layout
    file = config.encoder.precomputed
    precomputed = PrecomputedEmbeddings(file) if file else None
    try:
        source = choose_source(config).fetch(f"{config.storage_path}/downloads")
        layout = sort_reviews(source, staging, config.rows_per_shard, cutoff)
        if precomputed:
            precomputed.check(layout.num_lines, config.encoder)
    except BaseException:
        staging.remove()
        raise
    staging.begin(claim, layout)
    return layout


def _embed(config: EncoderConfig, staging: Staging, layout: Layout) -> None:
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    has_weights = config.kind != "hashing" and config.precomputed is None
    device = "cuda" if has_weights and num_gpus else "cpu"
    work = ShardEncoder(staging, layout, config, device)
    options: dict[str, Any]
    if has_weights:
        most = num_gpus if device == "cuda" else int(ray.cluster_resources()["CPU"])
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(layout.num_rows)))
        options = {"fn_constructor_args": (work,), "compute": pool}
        options |= {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
    else:
        # A file of embeddings is one that this process sees.
        options = {"num_cpus": 1, "label_selector": this_node() if config.precomputed else None}
    _run_shards(
        "embedding",
        ShardEncoderActor if has_weights else work,
        EMBEDDED,
        staging,
        layout,
        **options,
    )


def _run_shards(
    name: str,
    work: Callable[..., Any],
    stage: str,
    staging: Staging,
    layout: Layout,
    **options: Any,
) -> None:
    """Has Ray Data do the shards that a stage has not finished; `work` reports `rows` done."""
    finished = staging.finished(stage)
    todo = [shard for shard in range(len(layout.num_rows)) if shard not in finished]
    if not todo:
        return
    # Blocks of one report: each reaches the progress bar at once.
    with quiet_ray_data(max_block_bytes=1):
        shards = ray.data.from_items([{"shard": shard} for shard in todo])
        reports = shards.map_batches(work, batch_size=1, **options)
        done = sum(layout.num_rows[shard] for shard in finished)
        with tqdm(total=sum(layout.num_rows), initial=done, desc=name, unit=" reviews") as progress:
            for report in reports.iter_batches(batch_size=None, prefetch_batches=0):
                progress.update(int(report["rows"].sum()))


def _with_absolute_paths(config: AmazonConfig) -> AmazonConfig:
    """Workers run in folders of their own."""
    file = config.encoder.precomputed
    encoder = replace(config.encoder, precomputed=normalise(file) if file else None)
    return replace(config, encoder=encoder, storage_path=normalise(config.storage_path))
