"""Any table as training sees it: its labels, a Perceiver over its columns."""

from functools import partial

from raclib.corpus import Corpus, CorpusClient
from raclib.ingest.features import FeatureEncoder
from raclib.models.classifier import RetrievalClassifier
from raclib.models.perceiver_reader import build_perceivers
from raclib.models.tokens import TableShape, TableTokens
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.context import read_by
from raclib.tasks.table.corpus_task import CorpusTask
from raclib.tasks.table.history import Statistics
from raclib.tasks.table.labels import StoredLabel
from raclib.tasks.table.recipe import About

INPUTS = ("numbers", "categories", "entities", "embedding")


class TableTask(CorpusTask):
    """Rows of a table to predict and to retrieve."""

    config: TableConfig

    def __init__(
        self,
        config: TableConfig,
        corpus: Corpus,
        client: CorpusClient,
        base: BaseScores | None = None,
    ) -> None:
        about = About.of(corpus)
        self.num_classes = len(about.classes)
        self.num_codes = FeatureEncoder.load(corpus.uri).num_codes
        inputs = tuple(name for name in INPUTS if name in corpus.fields)
        standardized = tuple(name for name in ("embedding",) if name in inputs)
        split = config.split.of(corpus.num_before(about.cutoff))
        what = StoredLabel(), inputs, standardized, about.cutoff, split
        super().__init__(config, corpus, client, *what, base=base)

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        shape = table_shape(self.corpus, self.num_codes, self.statistics)
        sizes = self.key_dim, self.num_classes
        return build_table_model(self.config, shape, *sizes, with_context)


def table_shape(corpus: Corpus, num_codes: tuple[int, ...], statistics: Statistics) -> TableShape:
    """What a row of the corpus of a table holds."""
    numbers = corpus.fields.get("numbers")
    return TableShape(numbers.shape[0] if numbers else 0, num_codes, statistics.get("embedding"))


def build_table_model(
    config: TableConfig, shape: TableShape, key_dim: int, num_classes: int, with_context: bool
) -> RetrievalClassifier:
    """A model with fresh weights; see `build_perceivers`."""
    model = build_perceivers(
        config.model,
        config.retrieval,
        partial(TableTokens, shape, config.model.width),
        key_dim,
        num_classes,
        config.retrieval.retrieve == "row",
        with_context,
    )
    return read_by(config, model, num_classes, key_dim) if with_context else model
