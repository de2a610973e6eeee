"""Everything that making a corpus depends on."""

from dataclasses import dataclass

from raclib.ingest.config import EncoderConfig, KeyConfig, date_to_ms
from raclib.ingest.schema import RowSchema, Source


@dataclass(frozen=True)
class Recipe:
    """How rows become a corpus.

    Attributes:
        corpus_uri: Folder or URI of the corpus.
        storage_path: Folder or URI under which downloads are kept.
        source: The rows; None if none are given: then the corpus must be there.
        schema: What the columns of the rows are.
        cutoff: ISO date; whatever is fitted sees only rows before it.
        cutoff_name: Setting that holds the cutoff, for messages.
        rows_per_shard: Rows of a shard; the last one has fewer.
        encoder: What makes embeddings.
        key: What makes keys of embeddings.
    """

    corpus_uri: str
    storage_path: str
    source: Source | None
    schema: RowSchema
    cutoff: str
    cutoff_name: str
    rows_per_shard: int
    encoder: EncoderConfig
    key: KeyConfig

    @property
    def cutoff_ms(self) -> int:
        """The cutoff, ms since 1970."""
        return date_to_ms(self.cutoff)
