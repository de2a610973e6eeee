"""Tables and warnings on the terminal, or in the file that takes its place."""

import sys

from rich.console import Console
from rich.table import Table

FILE_WIDTH = 152


def print_rich(table: Table, has_markup: bool = True) -> None:
    """Prints a table, wide enough for files where there is no terminal.

    Args:
        table: What is printed.
        has_markup: Whether `[bold]` and the like in its cells are markup; else all is as it is.
    """
    width = None if sys.stdout.isatty() else FILE_WIDTH
    Console(width=width, markup=has_markup, emoji=has_markup, highlight=has_markup).print(table)


def warn(message: str | None) -> None:
    """Prints a warning, if there is one."""
    if message:
        print("warning:", message, file=sys.stderr)
