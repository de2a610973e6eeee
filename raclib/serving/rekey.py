"""Other keys for a corpus, whatever it was made of."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from raclib.corpus import Corpus
from raclib.errors import UserError
from raclib.ingest.keys import KeyTransform
from raclib.serving.find_model import find_model
from raclib.tasks.amazon.rekey import rekey_reviews, review_keys_of, rule_of
from raclib.tasks.table.rekey import change, keys_of, parse_until, rekey_table


@dataclass(frozen=True)
class Changes:
    """What keys are to be; None leaves a value as it is. See `ingest.config.KeyConfig`."""

    kind: Literal["first", "pca", "random", "supervised"] | None = None
    dim: int | None = None
    nca_dim: int | None = None
    base_weight: float | None = None
    time_linear: bool | None = None


def rekey_corpus(
    corpus: Corpus, changes: Changes, until: str | None = None, metric_of: str | None = None
) -> Corpus:
    """Publishes a version of a corpus of a table or of reviews with other keys.

    Args:
        corpus: The newest version.
        changes: Which keys.
        until: Labels known before this are fitted on; by default the cutoff of the corpus.
        metric_of: MLflow URI of a model whose reader's metric takes the place of the part `nca`.

    Raises:
        UserError: if the corpus is of neither, a value is impossible, or there is no such model.
    """
    when = parse_until(corpus, until) if until else None
    metric_wm = trained_metric(metric_of, KeyTransform.of(corpus)) if metric_of else None
    if "reviews" in corpus.provenance:
        key = change(review_keys_of(corpus), **asdict(changes))
        return rekey_reviews(corpus, key, rule_of(corpus), when, metric_wm)
    return rekey_table(corpus, change(keys_of(corpus), **asdict(changes)), when, metric_wm)


def trained_metric(uri: str, transform: KeyTransform) -> np.ndarray:
    """What a copy reader learned to tell places of rows apart by, `[width of the part, 32]`.

    Args:
        uri: MLflow URI of a model.
        transform: That of the keys it was trained on.

    Raises:
        UserError: if there is none, its reader has no metric, or it read keys of another width.
    """
    weights = find_model(uri, "metric_of").weights
    metric_md = weights.get("classify.metric.weight")
    if metric_md is None or metric_md.shape[1] != transform.dim:
        raise UserError(
            f"metric_of: {uri}: no reader of keys of {transform.dim} numbers; give a model that "
            "was trained on this version of the corpus with the reader copy"
        )
    return metric_md[:, transform.parts["place"]].T.double().numpy()
