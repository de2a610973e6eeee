"""Files that no published version of a corpus needs: what writers that died left behind."""

import re
import time
from contextlib import suppress

from raclib.corpus import files
from raclib.corpus.corpus import open_corpus
from raclib.corpus.faults import MissingError
from raclib.errors import UserError

_VERSION = re.compile(r"(\d{8})\.json")


def find_orphans(uri: str, min_age_s: float) -> dict[str, int]:
    """Path under the corpus and byte size of files that belong to no version.

    Args:
        uri: Folder or fsspec URI of the corpus.
        min_age_s: Younger files are left out: a writer may be about to publish them.

    Raises:
        UserError: if there is no corpus, or a manifest is not valid.
    """
    uri = files.normalise(uri)
    present = files.list_files(uri)
    names = (_VERSION.fullmatch(path.removeprefix("manifests/")) for path in present)
    versions = [int(name[1]) for name in names if name]
    if not present:
        raise UserError(f"{uri}: no corpus here; check the path")
    wanted = {f"manifests/{version:08d}.json" for version in versions}
    for version in versions:
        corpus = open_corpus(uri, version)
        wanted.add(f"keys/{corpus.provenance.get('key_transform')}.npz")
        for shard in corpus.shards:
            wanted.update(shard.path(name) for name in shard.files)
    ours = (path for path in present if path.startswith(("manifests/", "shards/", "keys/")))
    orphans = (path for path in ours if path not in wanted)
    return {path: present[path] for path in orphans if _is_older(f"{uri}/{path}", min_age_s)}


def remove(uri: str, paths: list[str]) -> None:
    """Removes files of a corpus, and the shard folders that are then empty."""
    for path in paths:
        with suppress(MissingError):
            files.ask(f"{uri}/{path}", "rm_file")
    # No others: a writer that makes a folder is about to fill it.
    files.remove_empty_folders({f"{uri}/{path.rpartition('/')[0]}" for path in paths})


def _is_older(uri: str, age_s: float) -> bool:
    """Whether a file is there still, and older; a writer renames what it has written."""
    try:
        return time.time() - files.ask(uri, "modified").timestamp() >= age_s
    except MissingError:
        return False
