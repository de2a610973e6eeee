#!/usr/bin/env python3
"""Measures the peak memory of a training step against its sizes; fits Eqn 2; logs to MLflow."""

from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Literal

import pandas as pd
import torch
from jsonargparse.typing import PositiveInt
from tqdm import tqdm

from raclib.bench import memory
from raclib.bench.draw import device_name
from raclib.bench.memory import Case
from raclib.errors import UserError
from raclib.run.cli import main
from raclib.run.config import TrackingConfig
from raclib.run.store import open_store
from raclib.run.tracking import environment_tags, flatten, track


@dataclass
class SweepConfig:
    """Which sizes are measured: each alone around a base, examples and keys also together."""

    batch: PositiveInt = 128
    """Examples of the base."""
    num_keys: PositiveInt = 100_000
    """Keys of the base."""
    slots: PositiveInt = 8
    """Rows drawn for an example of the base."""
    key_dim: PositiveInt = 64
    """Numbers a key of the base."""
    row_dim: PositiveInt = 8192
    """Numbers of a row, float16."""
    factors: list[PositiveInt] = field(default_factory=lambda: [1, 2, 4])
    """Multiples of the base that are measured."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where: device memory on cuda, the process's resident memory above its start on cpu."""
    tracking: TrackingConfig = field(
        default_factory=lambda: TrackingConfig(experiment="benchmarks")
    )

    def __post_init__(self) -> None:
        if len(set(self.factors)) < 2:
            raise UserError(
                f"factors: {self.factors}; a line needs two points: give two different ones"
            )
        most = self.slots * max(self.factors)
        if most > self.num_keys:
            raise UserError(
                f"slots: {self.slots}, multiplied up to {most}, are above num_keys "
                f"{self.num_keys}; no row is drawn twice"
            )


def run(config: SweepConfig) -> None:
    """Measures both draws at all sizes; prints and logs points, fits and figure."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda but no GPU is to be seen: use --device cpu")
    tracking = open_store(config.tracking)
    base = Case(config.batch, config.num_keys, config.slots, config.key_dim, config.row_dim)
    cases = list(dict.fromkeys(sizes(base, config.factors)))
    rows = [
        {"variant": variant, **asdict(case), "bytes": memory.measure(case, variant, config.device)}
        for variant, case in tqdm(
            list(product((memory.STREAMED, memory.MATERIALISED), cases)), unit="case"
        )
    ]
    measured = pd.DataFrame(rows)
    fitted, axes = memory.fit(measured), memory.fit_axes(measured, base)
    print(fitted.to_string(index=False, float_format="%.4g"), "\n")
    print(axes.to_string(index=False, float_format="%.5g"))
    tags = {"device": device_name(config.device), **environment_tags()}
    with track(tracking, "sweep_memory", None, flatten(config), tags) as log:
        for row in fitted.itertuples():
            term = f"{row.variant}/{row.term.split(' (')[0].replace(' ', '_')}"
            found = {f"{term}/bytes": row.bytes, f"{term}/error": row.error}
            log.log({**found, f"{row.variant}/r_squared": row.r_squared})
        for name, table in {"points": measured, "fit": fitted, "lines": axes}.items():
            log.log_table(table, name)
        log.log_figure(memory.plot(measured, axes, base), "memory")


def sizes(base: Case, factors: list[int]) -> list[Case]:
    """The base with each size alone multiplied, and with examples and keys multiplied together."""
    together = [
        replace(base, batch=base.batch * examples, num_keys=base.num_keys * keys)
        for examples, keys in product(factors, factors)
    ]
    more_slots = [replace(base, slots=base.slots * factor) for factor in factors]
    wider_keys = [replace(base, key_dim=base.key_dim * factor) for factor in factors]
    return [*together, *more_slots, *wider_keys]


if __name__ == "__main__":
    main(run, SweepConfig, None)
