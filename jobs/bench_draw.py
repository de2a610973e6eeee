#!/usr/bin/env python3
"""Measures exact draws beside other ways of getting rows from keys; logged to MLflow."""

from itertools import product
from typing import Literal

import matplotlib
import pandas as pd
import torch
from jsonargparse import auto_cli
from jsonargparse.typing import PositiveFloat, PositiveInt
from matplotlib.figure import Figure
from tqdm import tqdm

from raclib.bench.draw import Case, KeyType, device_name, measure
from raclib.errors import UserError
from raclib.run.cli import one_line_errors
from raclib.run.config import TrackingConfig, refuse_empty
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, track

matplotlib.use("Agg")
BASES = {
    "two products in bfloat16": "two products",
    "two products by oneDNN": "two products",
    "draw and gradient": "two products",
}


def run(
    num_keys: list[PositiveInt] = [100_000, 1_000_000],  # noqa: B006
    batch: list[PositiveInt] = [32, 128],  # noqa: B006
    slots: list[PositiveInt] = [8],  # noqa: B006
    width: PositiveInt = 64,
    dtypes: list[KeyType] = ["float32", "bfloat16", "int8"],  # noqa: B006
    temperature: PositiveFloat = 1.0,
    unit_keys: bool = False,
    nearest: list[PositiveInt] = [25, 128],  # noqa: B006
    device: Literal["cpu", "cuda"] = "cpu",
    rounds: PositiveInt = 3,
    tracking: TrackingConfig = TrackingConfig(experiment="benchmarks"),  # noqa: B008
) -> None:
    """Measures every contender on every combination; prints and logs time, memory and ratios.

    Args:
        num_keys: Numbers of keys.
        batch: Numbers of examples.
        slots: Numbers of rows drawn for an example.
        width: Numbers a key.
        dtypes: Types in which keys are held.
        temperature: Of the draw's softmax.
        unit_keys: Keys of length 1; else all their numbers are normal.
        nearest: Numbers of best rows to search; beside FAISS, where it is installed.
        device: cpu or cuda.
        rounds: Times that each contender runs; the least time counts.
        tracking: Where MLflow keeps the run.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device is {device} but no GPU is to be seen: use --device cpu")
    refuse_empty(num_keys=num_keys, batch=batch, slots=slots, dtypes=dtypes)
    if max(slots) > min(num_keys):
        raise UserError(
            f"slots: {max(slots)} is above num_keys {min(num_keys)}; no row is drawn twice"
        )
    tracking = open_store(tracking)
    sizes = list(product(num_keys, batch, slots, dtypes))
    common = (temperature, device, unit_keys, tuple(nearest))
    cases = [Case(k, b, s, width, dtype, *common) for k, b, s, dtype in sizes]
    rows = [row for case in tqdm(cases, unit="case") for row in measure(case, rounds)]
    table = with_ratios(pd.DataFrame(rows))
    print(table.to_string(index=False, float_format="%.3g"))
    params: dict[str, object] = {"num_keys": num_keys, "batch": batch, "slots": slots}
    params |= {"dtypes": dtypes, "width": width, "temperature": temperature}
    params |= {"unit_keys": unit_keys, "nearest": nearest}
    tags = {
        "device": device_name(device),
        "threads": str(torch.get_num_threads()),
        **environment_tags(),
    }
    with track(tracking, "bench_draw", None, params, tags) as log:
        for item in table.itertuples():  # rows as Series have a `dtype` of their own
            case = f"{item.contender}/K{item.num_keys}/B{item.batch}x{item.slots}/{item.dtype}"
            name = case.replace(" ", "_")
            found = {"seconds": item.seconds, "peak_mb": item.peak_mb, "ratio": item.ratio}
            log.log({f"{name}/{key}": value for key, value in found.items()})
        log.log_table(table, "draw")
        log.log_figure(plot(table), "draw")


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Adds each time over that of the bare products it cannot do without, or of FAISS."""
    case = ["num_keys", "batch", "slots", "dtype"]
    times = table.set_index([*case, "contender"]).seconds
    contenders = table[[*case, "contender"]].to_numpy()
    keys = [_base(tuple(key), name, times.index) for *key, name in contenders]
    return table.assign(ratio=table.seconds.to_numpy() / times.loc[keys].to_numpy())


def _base(case: tuple[object, ...], name: str, measured: pd.Index) -> tuple[object, ...]:
    """What a contender is compared with: nearest rows with FAISS's, where it ran."""
    rival = (*case, name.replace("nearest", "FAISS flat"))
    if name.startswith("nearest") and rival in measured:
        return rival
    return *case, BASES.get(name, "one product")


def plot(table: pd.DataFrame) -> Figure:
    """Time over the number of keys, a panel for each type, a line for each contender and batch."""
    dtypes = list(table.dtype.unique())
    figure = Figure(figsize=(5 * len(dtypes), 4.5), layout="constrained")
    for panel, dtype in zip(figure.subplots(1, len(dtypes), squeeze=False)[0], dtypes, strict=True):
        for (name, batch, slots), part in table[table.dtype == dtype].groupby(
            ["contender", "batch", "slots"]
        ):
            panel.loglog(
                part.num_keys, part.seconds, marker="o", label=f"{name}, {batch} x {slots}"
            )
        panel.set(title=f"{dtype} keys", xlabel="keys", ylabel="seconds")
    panel.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(run)
