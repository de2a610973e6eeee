"""How a training worker shows progress: bars on its job's terminal, lines in a log."""

import sys
from typing import Protocol

from ray.experimental import tqdm_ray
from tqdm import tqdm

LINE_EVERY_S = 10.0


class Bar(Protocol):
    """What is used of tqdm's bars."""

    def update(self, n: int = 1) -> object:
        """Counts `n` more."""
        ...

    def close(self) -> None:
        """Shows the last count."""
        ...


class _Lines:
    """A file for tqdm that makes a line of what it would write over the one before."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stdout.write(f"{line}\n")  # Ray Train prints twice what is printed

    def flush(self) -> None:
        sys.stdout.flush()


def has_terminal() -> bool:
    """Whether someone looks at what this process, a job's driver, writes."""
    return sys.stderr.isatty()


def progress_bar(total: int, name: str, unit: str, rank: int, terminal: bool, brief: bool) -> Bar:
    """A bar of tqdm.

    Args:
        total: Count at its end.
        name: What is counted, and by whom.
        unit: What one is.
        rank: The worker's line on the terminal.
        terminal: False to write a line every ten seconds, through Ray's log, instead of a bar.
        brief: Work that deserves no line if it ends before.
    """
    if terminal:
        return tqdm_ray.tqdm(total=total, desc=name, unit=unit, position=rank)
    return tqdm(
        total=total,
        desc=name,
        unit=unit,
        file=_Lines(),
        mininterval=LINE_EVERY_S,
        delay=LINE_EVERY_S if brief else 0,
    )
