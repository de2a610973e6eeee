"""A corpus gains a shard: its next version, nothing rewritten."""

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array
from raclib.corpus.manifest import TIME, ShardInfo, name_shard
from raclib.corpus.writer import json_values, publish, write_field

FILES_AT_ONCE = 4


def append_shard(corpus: Corpus, rows: Mapping[str, Array], said: Mapping[str, Any]) -> Corpus:
    """Publishes the version after a version of a corpus: its rows, and these.

    `CorpusWriter` appends more rows than memory holds, to whatever version is the newest.

    Args:
        corpus: The newest version.
        rows: All fields of N rows, N at least 1, in time order, none earlier than its newest.
        said: JSON values that the version says beside; they replace what it said of these names.

    Returns:
        The version that was published.

    Raises:
        UserError: if another writer published meanwhile, rows are not in time order, or a file
            cannot be written.
    """
    version, time = corpus.version + 1, rows[TIME]
    shard_id = name_shard(version, len(corpus.shards), secrets.token_hex(6))

    def write(name: str) -> Any:
        return write_field(corpus.uri, shard_id, name, corpus.fields[name], rows[name])

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        infos = dict(zip(corpus.fields, pool.map(write, corpus.fields), strict=True))
    shard = ShardInfo(shard_id, len(time), (int(time[0]), int(time[-1])), infos)
    shards, known = [*corpus.shards, shard], {shard.id for shard in corpus.shards}
    provenance = {**corpus.provenance, **json_values(said)}
    return publish(corpus.uri, corpus.fields, shards, provenance, version, known)
