"""Which mount is chosen, and that the reason is said."""

import pytest

from raclib.corpus.mounts import choose_mount
from raclib.errors import UserError


def test_auto_maps_what_is_on_a_path(corpus, caplog):
    caplog.set_level("INFO", logger="raclib")
    assert choose_mount(corpus, "auto").kind == "mmap"
    assert f"{corpus.uri}: mount mmap, because it is on a path" in caplog.text


@pytest.mark.parametrize(("room", "kind"), [(1.1, "hydrate"), (0.9, "range")])
def test_auto_copies_what_fits(bucket, rows, write_corpus, tmp_path, caplog, room, kind):
    caplog.set_level("INFO", logger="raclib")
    corpus = write_corpus(f"{bucket}/{kind}", rows, 5000)
    size = sum(info.num_bytes for shard in corpus.shards for info in shard.files.values())
    assert choose_mount(corpus, "auto", str(tmp_path), int(size * room)).kind == kind
    fits = "fit into" if kind == "hydrate" else "do not fit into"
    assert f"mount {kind}, because its {size:,} bytes {fits}" in caplog.text
    with pytest.raises(UserError, match="'mmap' needs a path"):
        choose_mount(corpus, "mmap")
