"""Past rows beside a new one, as people read them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raclib.ingest.decode import decode
from raclib.ingest.rows import RowReader
from raclib.serving.memory import Memory
from raclib.serving.service.messages import Evidence


def past_cases(
    memory: Memory, reader: RowReader, row: dict[str, Any], evidence: Sequence[Evidence]
) -> list[tuple[str, list[str]]]:
    """Lines of a table: a name, then the value of the new row and of each past one.

    Values are those that the corpus keeps: numbers to three digits, ids as far as they are the
    same, no texts.

    Args:
        memory: The version that the evidence is of.
        reader: Reads rows of the table.
        row: The new one.
        evidence: The past ones.
    """
    ids = np.array([one.id for one in evidence], np.int64)
    features = reader.features
    wanted = tuple(name for name in ("numbers", "categories") if name in memory.corpus.fields)
    found = memory.rows.reader.read(ids, (*wanted, "event_time")) if len(ids) else {}
    decoded = decode(features, found) if len(ids) else {}
    lines = [
        (reader.roles.label, ["?", *(one.label for one in evidence)]),
        ("weight", ["", *(f"{one.weight:.3f}" for one in evidence)]),
        ("happened", [str(row[reader.roles.time]), *(str(one.event_time) for one in evidence)]),
        ("label known", ["", *(str(one.label_time) for one in evidence)]),
    ]
    return lines + [(name, [_shown(row.get(name)), *values]) for name, values in decoded.items()]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
