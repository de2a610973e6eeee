"""What a table was taken for, on the terminal."""

import sys
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raclib.ingest.columns import Column
from raclib.ingest.survey import MAX_DISTINCT, ColumnSurvey

FILE_WIDTH = 136


def show_columns(columns: Sequence[Column], surveys: Mapping[str, ColumnSurvey]) -> None:
    """Prints a line a column: what it is taken as, why, missing and different values."""
    table = Table("column", "taken as", "why", box=SIMPLE, title="columns")
    table.add_column("missing", justify="right")
    table.add_column("distinct", justify="right")
    for column in columns:
        survey = surveys[column.name]
        missing = f"{survey.missing:.1%}" if survey.num_missing else ""
        table.add_row(column.name, column.role, column.why, missing, _distinct(survey))
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def warn(message: str | None) -> None:
    """Prints a warning, if there is one."""
    if message:
        print("warning:", message, file=sys.stderr)


def _distinct(survey: ColumnSurvey) -> str:
    if survey.distinct is None:
        return ""
    return f"> {MAX_DISTINCT:,}" if survey.has_many else f"{survey.num_distinct:,}"
