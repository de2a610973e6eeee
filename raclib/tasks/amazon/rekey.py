"""Other keys for a corpus of reviews."""

import numpy as np

from raclib.corpus import Corpus
from raclib.errors import UserError
from raclib.ingest.config import KeyConfig, date_to_ms
from raclib.ingest.rekey import Rekey, rekey
from raclib.tasks.amazon.config import RuleConfig
from raclib.tasks.amazon.labels import RatingRule
from raclib.tasks.table.rekey import base_weight_of


def review_keys_of(corpus: Corpus) -> KeyConfig:
    """How the keys of a version of a corpus of reviews were made."""
    return KeyConfig(**corpus.provenance["key"], base_weight=base_weight_of(corpus))


def rule_of(corpus: Corpus) -> RuleConfig:
    """The labelling rule that a corpus of reviews was made with.

    Raises:
        UserError: if its keys know no labels, so that it says of none.
    """
    rule = corpus.provenance.get("rule")
    if rule is None:
        raise UserError(
            f"{corpus.uri}: made without a labelling rule; make it anew with key.kind supervised"
        )
    return RuleConfig(**rule)


def rekey_reviews(
    corpus: Corpus,
    key: KeyConfig,
    rule: RuleConfig,
    until: int | None = None,
    metric_wm: np.ndarray | None = None,
) -> Corpus:
    """Publishes a version of a corpus of reviews with other keys; see `ingest.rekey`.

    Args:
        corpus: The newest version.
        key: Which keys.
        rule: Makes labels of ratings.
        until: Labels known before this are fitted on, ms since 1970; by default the cutoff.
        metric_wm: A trained map of the part `place`, to take the place of the part `nca`.
    """
    cutoff = date_to_ms(rule.cutoff)
    wanted = Rekey(
        key,
        cutoff if until is None else until,
        cutoff,
        RatingRule(rule),
        base_weight=key.base_weight,
        metric_wm=metric_wm,
    )
    return rekey(corpus, wanted)
