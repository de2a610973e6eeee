"""The base classifier of a table: no context, and a field of the corpus."""

from dataclasses import dataclass, replace

import numpy as np

from raclib.corpus import Corpus
from raclib.ingest.base_scores import FeatureReader, FeaturesOf, with_base
from raclib.ingest.features import FeatureEncoder
from raclib.models.base import OutOfFold
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import About
from raclib.tasks.table.rekey import rekey_table, with_base_part


@dataclass(frozen=True)
class BaseScores:
    """Answers of the base classifier for rows of the corpus, none by one that saw the row.

    Attributes:
        classifiers: One of all rows known at the cutoff, one for each fold of them.
        read: Reads what it sees of rows.
    """

    classifiers: OutOfFold
    read: FeaturesOf

    def log_probs(self, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of the classes for rows by id, `[N, C]` float32."""
        return self.classifiers.log_probs(self.read, rows)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities of the classes for rows by id, `[N, C]` float32."""
        return np.exp(self.log_probs(rows))


def prepare_base(config: TableConfig, corpus: Corpus) -> tuple[Corpus, BaseScores | None]:
    """A version of the corpus with the scores of the base classifier; None for the paper's own.

    With `key.base_weight` they are part of its keys too. The paper's classifier without context is
    trained like the one with retrieval.
    """

    def rekey(corpus: Corpus, weight: float, until: int | None) -> Corpus:
        return rekey_table(corpus, replace(config.key, base_weight=weight), until)

    if config.base.kind == "perceiver":
        return with_base_part(corpus, config.key.base_weight, rekey), None
    about, num_codes = About.of(corpus), FeatureEncoder.load(corpus.uri).num_codes
    extended, classifiers = with_base(
        corpus, config.base, num_codes, len(about.classes), about.cutoff
    )
    extended = with_base_part(extended, config.key.base_weight, rekey)
    return extended, BaseScores(classifiers, FeatureReader(extended, num_codes))
