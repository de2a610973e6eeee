"""What phases of a rehearsal took, beside a smaller size of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log

import pandas as pd
from matplotlib.figure import Figure

from raclib.bench.usage import Usage, together


@dataclass(frozen=True)
class Size:
    """A rehearsal.

    Attributes:
        num_rows: Rows of its table.
        phases: What each phase took, in order.
    """

    num_rows: int
    phases: Mapping[str, Usage]


def phase_table(here: Size, worked: Mapping[str, int], smaller: Size | None) -> pd.DataFrame:
    """A row a phase, and one for all.

    `rows_per_s` counts rows of the table, or those that `worked` says a phase worked on. Beside a
    smaller size `exponent` is that of a power law of processor time over rows (1 is linear), which
    other work on the machine changes least, and `driver_bytes_per_row` what the driver's own memory
    grew by for each row more.
    """
    rows = [{"phase": name, **asdict(usage)} for name, usage in here.phases.items()]
    rows.append({"phase": "all", **asdict(together(here.phases.values()))})
    table = pd.DataFrame(rows)
    counts = table["phase"].map(lambda name: worked.get(name, here.num_rows))
    table["rows_per_s"] = counts / table["seconds"]
    if smaller is not None:
        before = {**smaller.phases, "all": together(smaller.phases.values())}
        theirs = pd.DataFrame([asdict(before.get(name, Usage())) for name in table["phase"]])
        ratio = (table["cpu_seconds"] / theirs["cpu_seconds"]).where(theirs["cpu_seconds"] > 0)
        table["exponent"] = ratio.map(log) / log(here.num_rows / smaller.num_rows)
        more = table["driver_own_mb"] - theirs["driver_own_mb"]
        table["driver_bytes_per_row"] = 1e6 * more / (here.num_rows - smaller.num_rows)
    return table


def show(table: pd.DataFrame, figures: Mapping[str, float]) -> None:
    """Prints the table and the figures."""
    print(table.to_string(index=False, float_format="{:,.4g}".format, na_rep=""))
    print("\n".join(f"{name}: {value:,.4g}" for name, value in figures.items()))


def plot(table: pd.DataFrame) -> Figure:
    """Seconds and own memory of each phase."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    shown = table[table["phase"] != "all"]
    left.barh(shown["phase"], shown["seconds"])
    left.invert_yaxis()
    left.set(xlabel="seconds")
    right.barh(shown["phase"], shown["total_mb"], label="driver and workers")
    right.barh(shown["phase"], shown["driver_own_mb"], height=0.3, label="driver")
    right.set(xlabel="own memory, MB")
    right.legend(fontsize="small")
    return figure
