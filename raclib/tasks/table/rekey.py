"""Other keys for the corpus of a table."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pyarrow as pa

from raclib.corpus import Corpus
from raclib.errors import UserError
from raclib.ingest.base_scores import BASE
from raclib.ingest.config import KeyConfig
from raclib.ingest.keys import KEY_FIT
from raclib.ingest.rekey import Rekey, rekey
from raclib.ingest.times import to_milliseconds
from raclib.tasks.table.config import TableKeyConfig
from raclib.tasks.table.labels import StoredLabel
from raclib.tasks.table.recipe import About

Key = TypeVar("Key", bound=KeyConfig)


def keys_of(corpus: Corpus) -> TableKeyConfig:
    """How the keys of a version of a corpus were made; raises UserError if it is of no table."""
    if "table" not in corpus.provenance:
        raise UserError(f"{corpus.uri}: not the corpus of a table; make it with other keys anew")
    return TableKeyConfig(**corpus.provenance["key"], base_weight=base_weight_of(corpus))


def base_weight_of(corpus: Corpus) -> float:
    """The part of the base classifier in the keys of a version of a corpus."""
    return float(corpus.provenance.get(KEY_FIT, {}).get("base_weight", 0.0))


def rekey_table(
    corpus: Corpus,
    key: TableKeyConfig,
    until: int | None = None,
    metric_wm: np.ndarray | None = None,
) -> Corpus:
    """Publishes a version of the corpus of a table with other keys; see `ingest.rekey`.

    Args:
        corpus: The newest version.
        key: Which keys.
        until: Labels known before this are fitted on, ms since 1970; by default the cutoff.
        metric_wm: A trained map of the part `place`, to take the place of the part `nca`.
    """
    cutoff = About.of(corpus).cutoff
    wanted = Rekey(
        key,
        cutoff if until is None else until,
        cutoff,
        StoredLabel(),
        key.entity_weight,
        key.base_weight,
        at_most=True,
        metric_wm=metric_wm,
    )
    return rekey(corpus, wanted)


def with_base_part(
    corpus: Corpus, weight: float, rekey: Callable[[Corpus, float, int | None], Corpus]
) -> Corpus:
    """A version whose keys have the part of its base classifier that is asked for.

    Args:
        corpus: The newest version.
        weight: Of that part; there is none where the corpus has no scores of a base classifier.
        rekey: Publishes a version with keys of a weight, fitted on labels known before a time.
    """
    fitted, base = corpus.provenance.get(KEY_FIT, {}), corpus.provenance.get(BASE)
    weight = weight if base else 0.0
    if (base_weight_of(corpus), fitted.get(BASE)) == (weight, base if weight else None):
        return corpus
    return rekey(corpus, weight, fitted.get("until"))


def parse_until(corpus: Corpus, value: str) -> int:
    """A time in ms: a date, or a number in the unit of the table's times.

    Raises:
        UserError: if it is neither.
    """
    unit = corpus.provenance.get("roles", {}).get("time_unit")
    given = pa.array([value], pa.string())
    if unit is not None and value.lstrip("-").isdigit():
        (time,), _ = to_milliseconds(pa.array([int(value)]), unit)
        return int(time)
    (time,), (is_missing,) = to_milliseconds(given)
    if is_missing:
        raise UserError(
            f"until: {value!r} is not a date; write it as 2021-06-01"
            + (f", or give a number of the unit {unit}" if unit else "")
        )
    return int(time)


def change(key: Key, **changes: object) -> Key:
    """The same with some values changed; None leaves one as it is."""
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(key, **given)  # type: ignore[arg-type]
