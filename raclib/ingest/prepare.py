"""From rows to a corpus: read, sort, embed, key, publish. A killed run continues."""

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
from raclib.ingest.recipe import Recipe
from raclib.ingest.sort import sort_rows
from raclib.ingest.staging import EMBEDDED, Layout, Staging
from raclib.run.cluster import quiet_ray_data, this_node


def prepare(recipe: Recipe) -> Corpus:
    """The corpus of a recipe; made from its rows unless it is there.

    Fields: `embedding` float16 [D], `key` float16 [d] and those of the schema. Ray must be
    initialised. What is unfinished lies in `<corpus>.staging`; the same recipe continues it.

    Raises:
        UserError: if the rows, the encoder or the recipe are at fault, or another corpus is there.
    """
    recipe = _with_absolute_paths(recipe)
    uri = recipe.corpus_uri
    staging = Staging(uri)
    request = _describe(recipe)
    if latest_version(uri):
        corpus = _open(uri, request)
    else:
        check_encoder(recipe.encoder)
        corpus = _make(recipe, request, staging)
    staging.remove()
    return corpus


def _describe(recipe: Recipe) -> dict[str, Any]:
    """The part of the provenance that is known beforehand; two that differ are two corpora."""
    request = {
        "encoder": describe_encoder(recipe.encoder),
        "key": describe_keys(recipe.key),
        "cutoff": recipe.cutoff,
    }
    # A finished corpus needs its rows no more.
    if recipe.source is not None:
        request[recipe.schema.nouns] = recipe.source.describe()
    return request


def _open(uri: str, request: dict[str, Any]) -> Corpus:
    open_corpus(uri)
    try:
        return open_corpus(uri, expect=request)
    except UserError as error:
        raise UserError(f"{error}; or give another --name or --corpus") from None


def _make(recipe: Recipe, request: dict[str, Any], staging: Staging) -> Corpus:
    layout = _sort(recipe, request, staging)
    _embed(recipe, staging, layout)
    sample_ND = read_sample(staging, len(layout.num_rows))
    transform = KeyTransform.fit(recipe.key, sample_ND, layout.first, recipe.cutoff_ms)
    transform.save(staging.corpus_uri)
    work = KeyWriter(staging, recipe.schema, transform)
    _run_shards("keys", work, keyed_by(transform), recipe, staging, layout, num_cpus=1)
    first = staging.finished(EMBEDDED)[0]
    fields = {**embedded_fields(recipe.schema, first["dim"]), "key": key_field(transform)}
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


def _sort(recipe: Recipe, request: dict[str, Any], staging: Staging) -> Layout:
    """Sorts the rows, unless an earlier run of the same request did."""
    # Other keys need no other embeddings.
    claim = {name: value for name, value in request.items() if name != "key"}
    claim["rows_per_shard"] = recipe.rows_per_shard
    layout = staging.resume(claim)
    if layout is not None:
        return layout
    assert recipe.source is not None, "a corpus is not made of nothing"
    file = recipe.encoder.precomputed
    precomputed = PrecomputedEmbeddings(file) if file else None
    try:
        source = recipe.source.fetch(f"{recipe.storage_path}/downloads")
        layout = sort_rows(source, recipe, staging)
        if precomputed:
            precomputed.check(layout.num_lines, recipe.encoder, recipe.schema.nouns)
    except BaseException:
        staging.remove()
        raise
    staging.begin(claim, layout)
    return layout


def _embed(recipe: Recipe, staging: Staging, layout: Layout) -> None:
    config = recipe.encoder
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    has_weights = config.kind != "hashing" and config.precomputed is None
    device = "cuda" if has_weights and num_gpus else "cpu"
    work = ShardEncoder(staging, recipe.schema, layout, config, device)
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
        recipe,
        staging,
        layout,
        **options,
    )


def _run_shards(
    name: str,
    work: Callable[..., Any],
    stage: str,
    recipe: Recipe,
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
        total, unit = sum(layout.num_rows), f" {recipe.schema.nouns}"
        with tqdm(total=total, initial=done, desc=name, unit=unit) as progress:
            for report in reports.iter_batches(batch_size=None, prefetch_batches=0):
                progress.update(int(report["rows"].sum()))


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    """Workers run in folders of their own."""
    file = recipe.encoder.precomputed
    encoder = replace(recipe.encoder, precomputed=normalise(file) if file else None)
    uri, storage = normalise(recipe.corpus_uri), normalise(recipe.storage_path)
    return replace(recipe, corpus_uri=uri, storage_path=storage, encoder=encoder)
