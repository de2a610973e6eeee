"""Small shards of a corpus become larger ones: a new version of the same rows."""

import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raclib.corpus import files
from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.manifest import FileInfo, ShardInfo, name_shard
from raclib.corpus.writer import publish, write_field
from raclib.errors import UserError


@dataclass(frozen=True)
class Merged:
    """A shard that is written, and those whose rows it holds, in their order.

    Attributes:
        shard: The new one.
        parts: Two shards or more that follow one another.
    """

    shard: ShardInfo
    parts: tuple[ShardInfo, ...]


def compact(
    corpus: Corpus, rows_per_shard: int, progress: Callable[[int], object] | None = None
) -> Corpus:
    """Publishes a version in which shards that fit into one are one.

    Rows keep their ids, and no file is changed: older versions are read on. Another writer may
    append meanwhile. Until all is written nothing is published.

    Args:
        corpus: A version of it.
        rows_per_shard: The most rows of a merged shard. Larger shards stay as they are.
        progress: Called with the number of rows of each shard that was written.

    Returns:
        The version that was published, or the same corpus where nothing is to be merged.

    Raises:
        UserError: if a file is damaged or cannot be written, or its shards were replaced meanwhile.
    """
    merged = merge_shards(corpus, rows_per_shard, progress)
    return publish_merged(corpus.uri, merged) if merged else corpus


def merge_shards(
    corpus: Corpus, rows_per_shard: int, progress: Callable[[int], object] | None = None
) -> list[Merged]:
    """Writes the shards that `compact` makes, and publishes nothing; see there."""
    if rows_per_shard < 1:
        raise UserError(f"rows_per_shard: {rows_per_shard}; must be at least 1")
    token, merged = secrets.token_hex(6), []
    for number, parts in enumerate(_group(corpus.shards, rows_per_shard)):
        shard_id = name_shard(corpus.version + 1, number, token)
        merged.append(Merged(_merge(corpus, parts, shard_id), parts))
        if progress:
            progress(merged[-1].shard.num_rows)
    return merged


def publish_merged(uri: str, merged: Sequence[Merged]) -> Corpus:
    """Publishes the newest version with merged shards in the place of their parts.

    Args:
        uri: The corpus.
        merged: As `merge_shards` gives them.

    Raises:
        UserError: if that version has not all of the parts, or another writer publishes just now.
    """
    newest = open_corpus(uri)
    shards, known = list(newest.shards), {shard.id for shard in newest.shards}
    places = {shard.id: place for place, shard in enumerate(shards)}
    for each in reversed(merged):
        place = places.get(each.parts[0].id, 0)
        where = slice(place, place + len(each.parts))
        if tuple(shards[where]) != each.parts:
            raise UserError(
                f"{uri}: version {newest.version} has other shards than those that were merged; "
                "nothing is lost, do it again"
            )
        shards[where] = [each.shard]
    return publish(uri, newest.fields, shards, newest.provenance, newest.version + 1, known)


def count_merged(corpus: Corpus, rows_per_shard: int) -> int:
    """How many rows `compact` would write."""
    groups = _group(corpus.shards, rows_per_shard)
    return sum(shard.num_rows for parts in groups for shard in parts)


def _group(shards: Iterable[ShardInfo], rows_per_shard: int) -> Iterator[tuple[ShardInfo, ...]]:
    """Shards that follow one another and fit into one: two or more."""
    group: list[ShardInfo] = []
    num_rows = 0
    for shard in shards:
        if num_rows + shard.num_rows > rows_per_shard:
            if len(group) > 1:
                yield tuple(group)
            group, num_rows = [], 0
        group.append(shard)
        num_rows += shard.num_rows
    if len(group) > 1:
        yield tuple(group)


def _merge(corpus: Corpus, parts: Sequence[ShardInfo], shard_id: str) -> ShardInfo:
    infos = {name: _merge_field(corpus, parts, shard_id, name) for name in corpus.fields}
    time_range = parts[0].time_range[0], parts[-1].time_range[1]
    return ShardInfo(shard_id, sum(part.num_rows for part in parts), time_range, infos)


def _merge_field(corpus: Corpus, parts: Sequence[ShardInfo], shard_id: str, name: str) -> FileInfo:
    """Rows wait on the disk of this machine, so that memory holds those of one part."""
    field, num_rows = corpus.fields[name], sum(part.num_rows for part in parts)
    with tempfile.TemporaryFile() as file:
        for part in parts:
            rows = corpus.column(part, name).read(0, part.num_rows)
            with files.clear_errors(f"temporary file of field {name}"):
                file.write(rows.data.cast("B"))
        file.flush()
        array = np.memmap(file, field.dtype, mode="r", shape=(num_rows, *field.shape))
        return write_field(corpus.uri, shard_id, name, field, array)
