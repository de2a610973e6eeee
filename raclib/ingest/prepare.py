"""From rows to a corpus: read, sort, encode, key, publish. A killed run continues."""

from collections.abc import Callable
from typing import Any

import ray
import ray.data
from tqdm import tqdm

from raclib.corpus import Corpus, open_corpus, publish
from raclib.corpus.corpus import latest_version
from raclib.corpus.files import normalise
from raclib.corpus.manifest import TIME
from raclib.errors import UserError
from raclib.ingest.encode import ShardEncoder, ShardEncoderActor, encoded_fields, sample_rows
from raclib.ingest.identity import changed_file, is_files
from raclib.ingest.key_shards import KeyWriter, finished_shards, key_field, keyed_by, read_sample
from raclib.ingest.keys import KEY_FIT, TRANSFORM
from raclib.ingest.precomputed import PRECOMPUTED
from raclib.ingest.schema import Recipe, RowEncoder
from raclib.ingest.sort import sort_rows
from raclib.ingest.staging import ENCODED, Layout, Staging, shard_record
from raclib.run.cluster import quiet_ray_data, this_node
from raclib.run.terminal import warn

FIRST = 1
"""The version that is made of files; later ones add to it."""


def prepare(recipe: Recipe) -> Corpus:
    """The corpus of a recipe; made unless it is there.

    Fields: those of the recipe's encoder, `key` float16 [d], and `time` int64, by which rows are
    sorted. Ray must be initialised. What is unfinished lies in `<corpus>.staging`; the same recipe
    continues it.

    Raises:
        UserError: if the rows or the recipe are at fault, or another corpus is there.
    """
    uri = normalise(recipe.corpus_uri)
    staging = Staging(uri)
    is_published = latest_version(uri) > 0
    request = recipe.describe(is_published)
    corpus = _open(uri, request) if is_published else _make(recipe, request, staging)
    staging.remove()
    return corpus


def _open(uri: str, request: dict[str, Any]) -> Corpus:
    rest = _check_inputs(open_corpus(uri), request)
    try:
        corpus = open_corpus(uri, expect=rest)
    except UserError as error:
        raise UserError(f"{error}; or give another --name or --corpus") from None
    if corpus.provenance.get(KEY_FIT, {}).get("past_cutoff"):
        raise UserError(
            f"{uri}: keys of version {corpus.version} were fitted on labels known after the cutoff "
            "and would flatter any result; make them anew with jobs/corpus.py rekey, or give "
            "another --name or --corpus"
        )
    return corpus


def _check_inputs(corpus: Corpus, request: dict[str, Any]) -> dict[str, Any]:
    """Raises UserError if a file is not what it was; gives the rest of what is asked for."""
    rest = {}
    for name, wanted in request.items():
        found = corpus.provenance.get(name, {})
        if name == PRECOMPUTED and not found:
            continue  # what is in the corpus was encoded; the file is taken to hold the same
        if not (is_files(found) and is_files(wanted)):
            rest[name] = wanted
        elif file := changed_file(found, wanted):
            raise UserError(
                f"{corpus.uri}: {file}: {name} changed since corpus version {FIRST} was made; give "
                "another --corpus, or append"
            )
    return rest


def _make(recipe: Recipe, request: dict[str, Any], staging: Staging) -> Corpus:
    layout = _sort(recipe, request, staging)
    encoder = recipe.fit_encoder(staging, layout)
    _encode(recipe, encoder, staging, layout)
    sample = read_sample(staging, len(layout.num_rows))
    assert (sample[TIME] < recipe.cutoff).all(), "keys are fitted on what was known"
    transform = recipe.fit_keys(sample, layout)
    transform.save(staging.corpus_uri)
    writer = KeyWriter(staging, transform)
    _run_shards("keys", recipe.noun, writer, keyed_by(transform), staging, layout, num_cpus=1)
    first = staging.read(shard_record(ENCODED, 0))
    fields = {**encoded_fields(first), "key": key_field(transform)}
    provenance = {
        **request,
        **recipe.found(),
        "encoder_revision": first["revision"],
        TRANSFORM: transform.checksum,
        "num_lines": layout.num_lines,
        "skipped": layout.skipped,
    }
    return publish(
        staging.corpus_uri, fields, finished_shards(staging, transform), provenance, version=FIRST
    )


def _sort(recipe: Recipe, request: dict[str, Any], staging: Staging) -> Layout:
    """Sorts the rows, unless an earlier run of the same request did."""
    # Other keys need no other encoding.
    claim = {name: value for name, value in request.items() if name != "key"}
    claim["rows_per_shard"] = recipe.rows_per_shard
    layout = staging.resume(claim)
    if layout is not None:
        return layout
    try:
        layout = sort_rows(recipe.fetch(), recipe, staging)
        for remark in layout.remarks:
            warn(remark)
        recipe.check(layout)
    except BaseException:
        staging.remove()
        raise
    staging.begin(claim, layout)
    return layout


def _encode(recipe: Recipe, encoder: RowEncoder, staging: Staging, layout: Layout) -> None:
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    device = "cuda" if encoder.has_weights and num_gpus else "cpu"
    sample = sample_rows(layout.num_before)
    work = ShardEncoder(staging, layout, sample, encoder, recipe.time, device)
    options: dict[str, Any]
    if encoder.has_weights:
        most = num_gpus if device == "cuda" else int(ray.cluster_resources()["CPU"])
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(layout.num_rows)))
        options = {"fn_constructor_args": (work,), "compute": pool}
        options |= {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
    else:
        # A file of embeddings is one that this process sees.
        options = {"num_cpus": 1, "label_selector": this_node() if encoder.is_local else None}
    todo = ShardEncoderActor if encoder.has_weights else work
    _run_shards("encoding", recipe.noun, todo, ENCODED, staging, layout, **options)


def _run_shards(
    name: str,
    noun: str,
    work: Callable[..., Any],
    stage: str,
    staging: Staging,
    layout: Layout,
    **options: Any,
) -> None:
    """Has Ray Data do the shards that a stage has not finished; `work` reports `rows` done."""
    finished = set(staging.numbers(stage))
    todo = [shard for shard in range(len(layout.num_rows)) if shard not in finished]
    if not todo:
        return
    # Blocks of one report: each reaches the progress bar at once.
    with quiet_ray_data(max_block_bytes=1):
        shards = ray.data.from_items([{"shard": shard} for shard in todo])
        reports = shards.map_batches(work, batch_size=1, **options)
        done = sum(layout.num_rows[shard] for shard in finished)
        with tqdm(
            total=sum(layout.num_rows), initial=done, desc=name, unit=f" {noun}s"
        ) as progress:
            for report in reports.iter_batches(batch_size=None, prefetch_batches=0):
                progress.update(int(report["rows"].sum()))
