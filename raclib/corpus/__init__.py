"""The corpus: rows in time order, sharded, on any file system; served by actors, fetched by id."""

from raclib.corpus.client import CorpusClient, PendingFetch
from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.extend import add_field
from raclib.corpus.manifest import Field, FileInfo, ShardInfo
from raclib.corpus.store import CorpusStore
from raclib.corpus.writer import CorpusWriter, publish, write_field

__all__ = [
    "Corpus",
    "CorpusClient",
    "CorpusStore",
    "CorpusWriter",
    "Field",
    "FileInfo",
    "PendingFetch",
    "ShardInfo",
    "add_field",
    "open_corpus",
    "publish",
    "write_field",
]
