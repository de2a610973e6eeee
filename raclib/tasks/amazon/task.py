"""The Amazon task as training sees it: reviews, the label of a rating, a Perceiver."""

from raclib.corpus import Corpus, CorpusClient
from raclib.ingest.config import date_to_ms
from raclib.models.classifier import RetrievalClassifier
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.labels import INPUTS, NUM_CLASSES, RatingRule
from raclib.tasks.amazon.models import STANDARDIZED, build_model
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.corpus_task import CorpusTask


class AmazonTask(CorpusTask):
    """Reviews to predict and reviews to retrieve."""

    config: AmazonConfig

    num_classes = NUM_CLASSES

    def __init__(
        self,
        config: AmazonConfig,
        corpus: Corpus,
        client: CorpusClient,
        base: BaseScores | None = None,
    ) -> None:
        rule, cutoff = RatingRule(config.rule), date_to_ms(config.rule.cutoff)
        what = rule, INPUTS, STANDARDIZED, cutoff
        super().__init__(config, corpus, client, *what, base=base)

    def build_model(self, with_context: bool) -> RetrievalClassifier:
        """A model with fresh weights."""
        sizes = self.key_dim, self.num_classes
        return build_model(self.config, self.statistics, *sizes, with_context)
