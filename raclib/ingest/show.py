"""What a table was taken for, on the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from raclib.ingest.columns import Column
from raclib.ingest.survey import MAX_DISTINCT, ColumnSurvey
from raclib.ingest.timeline import Timeline
from raclib.run.terminal import print_rich

MAX_SHOWN = 5


def show_columns(columns: Sequence[Column], surveys: Mapping[str, ColumnSurvey]) -> None:
    """Prints a line a column: what it is taken as, why, missing and different values."""
    table = Table("column", "taken as", "why", box=SIMPLE, title="columns")
    table.add_column("missing", justify="right")
    table.add_column("distinct", justify="right")
    for column in columns:
        survey = surveys[column.name]
        missing = f"{survey.missing:.1%}" if survey.num_missing else ""
        table.add_row(column.name, column.role, column.why, missing, _distinct(survey))
    # A column may be called amount[usd], which is no markup.
    print_rich(table, has_markup=False)


def show_labels(timeline: Timeline, cutoff: int) -> None:
    """Prints how many rows there are, those left out and why, and how often classes come."""
    before = timeline.known < cutoff
    lines = [f"rows: {len(timeline.event):,}, labels known before the cutoff: {before.sum():,}"]
    lines += [f"left out: {count:,} rows: {why}" for why, count in timeline.skipped.items()]
    if timeline.num_early:
        lines.append(f"labels known before their row: {timeline.num_early:,}, moved to its time")
    new = new_classes(timeline, cutoff)
    lines.append(f"classes: {len(timeline.classes.names):,}, {_commonest(timeline)}")
    if new:
        lines.append(f"classes first known after the cutoff: {', '.join(new)}")
    print("\n".join(lines))


def say_skipped(provenance: Mapping[str, Any]) -> str | None:
    """How many lines or rows a corpus was made without, and why; None if it has all of them."""
    skipped: Counter[str] = Counter(provenance.get("skipped", {}))
    if not skipped:
        return None
    reasons = [f"{why} ({count:,})" for why, count in skipped.most_common(MAX_SHOWN)]
    more = len(skipped) - len(reasons)
    rest = f", and {more:,} other reasons" if more else ""
    return f"{skipped.total():,} of {provenance['num_lines']:,} rows: {', '.join(reasons)}{rest}"


def new_classes(timeline: Timeline, cutoff: int) -> list[str]:
    """Classes of which no label was known before the cutoff."""
    seen = set(np.unique(timeline.label[timeline.known < cutoff]).tolist())
    return [name for place, name in enumerate(timeline.classes.names) if place not in seen]


def _commonest(timeline: Timeline) -> str:
    shares = np.bincount(timeline.label) / len(timeline.label)
    first = np.argsort(-shares, kind="stable")[:MAX_SHOWN]
    named = [f"{timeline.classes.names[place]} {shares[place]:.1%}" for place in first]
    return "commonest " + ", ".join(named)


def _distinct(survey: ColumnSurvey) -> str:
    if survey.distinct is None:
        return ""
    return f"> {MAX_DISTINCT:,}" if survey.has_many else f"{survey.num_distinct:,}"
