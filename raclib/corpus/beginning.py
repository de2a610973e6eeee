"""The first rows of a corpus, as if there were no others."""

from collections.abc import Iterator

from raclib.corpus.corpus import Corpus
from raclib.corpus.gather import Array
from raclib.corpus.manifest import Field, ShardInfo


class Beginning:
    """The first rows of a corpus, such as those whose labels were known before a time.

    A number stands for them, where a list of ids would take eight bytes a row.

    Args:
        corpus: The rows.
        num_rows: How many.
    """

    def __init__(self, corpus: Corpus, num_rows: int) -> None:
        assert num_rows <= len(corpus), "there are so many"
        self._corpus, self._num_rows = corpus, num_rows

    def __len__(self) -> int:
        return self._num_rows

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a row."""
        return self._corpus.fields

    @property
    def shards(self) -> tuple[ShardInfo, ...]:
        """The shards of the corpus."""
        return self._corpus.shards

    def iter_field(self, name: str) -> Iterator[tuple[int, Array]]:
        """As `Corpus.iter_field`, of these rows."""
        return self._corpus.iter_field(name, 0, self._num_rows)
