"""A corpus gains a field: a new version with one more file a shard, nothing rewritten."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from raclib.corpus.corpus import Corpus, latest_version
from raclib.corpus.gather import Array
from raclib.corpus.manifest import TIME, Field, ShardInfo, check_fields
from raclib.corpus.writer import json_values, publish, write_field
from raclib.errors import UserError


def add_field(
    corpus: Corpus,
    name: str,
    field: Field,
    make_rows: Callable[[int], Array],
    provenance: Mapping[str, Any] | None = None,
) -> Corpus:
    """Publishes the next version of a corpus: the same rows, with one more field.

    Where there is a field of that name the new version has the new one, and older versions keep
    theirs. Shards are made and written one after the other. Until the last is written nothing is
    published; done again after a failure, all are written again.

    Args:
        corpus: The newest version.
        name: Name of the field; any but `time`.
        field: Type and shape of a row of it.
        make_rows: Gives the rows `[N, *field.shape]` of the shard of a number.
        provenance: JSON values; they are added to what the corpus says, or replace it.

    Returns:
        The version that was published.

    Raises:
        UserError: if the name is no field's, the rows are not of that type and shape, there is a
            newer version, or a file cannot be written.
    """
    fields = {**corpus.fields, name: field}
    check_fields(fields)
    if name == TIME:
        raise UserError(f"field {TIME!r}: it orders the rows and cannot be replaced; name another")
    said = {**corpus.provenance, **json_values(provenance)}
    _check_newest(corpus)
    token = secrets.token_hex(6)

    def extend(number: int, shard: ShardInfo) -> ShardInfo:
        rows = make_rows(number)
        if len(rows) != shard.num_rows:
            raise UserError(f"{name}: {len(rows)} rows for {shard.num_rows} of shard {shard.id}")
        info = write_field(corpus.uri, shard.id, name, field, rows, token)
        return replace(shard, files={**shard.files, name: info})

    shards = [extend(number, shard) for number, shard in enumerate(corpus.shards)]
    return publish(corpus.uri, fields, shards, said, corpus.version + 1)


def _check_newest(corpus: Corpus) -> None:
    newest = latest_version(corpus.uri)
    if newest != corpus.version:
        raise UserError(
            f"{corpus.uri}: version {newest} is the newest; open that instead of {corpus.version}"
        )
