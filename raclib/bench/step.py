"""Seconds of a training step by where the rows it retrieves come from."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from raclib.batch import Batch, to_tensors
from raclib.bench.reviews import Case, make_step
from raclib.corpus import Corpus, CorpusStore
from raclib.retrieval.keys import KeySet
from raclib.tasks.amazon.config import RuleConfig
from raclib.tasks.amazon.labels import INPUTS, RatingRule
from raclib.tasks.table.history import TableHistory
from raclib.tasks.table.reader import Fetch, TableReader
from raclib.training.noise import step_noise
from raclib.training.step import RetrievalStep
from raclib.training.timer import Timer

ARRAY, MAP, ACTORS, HYDRATED, RANGES = "array", "map", "actors", "hydrated", "ranges"
TEMPERATURE = 0.05
WARM_UP = 3  # steps that are not counted
PIECE_ROWS = 4096
PARTS = ("draw", "fetch", "backward")
CPU = torch.device("cpu")
LABELLING = RatingRule(RuleConfig())


def local_ways(corpus: Corpus, stack: ExitStack) -> dict[str, Fetch]:
    """Ways of getting at the rows of a corpus of this machine; actors live until the stack closes.

    Args:
        corpus: The rows.
        stack: Ends what is started.
    """
    arrays = {name: corpus.read(name) for name in _fields()}
    store = stack.enter_context(CorpusStore.start(corpus, num_servers=1, mount="mmap"))
    return {
        ARRAY: lambda ids, fields: {name: arrays[name][ids] for name in fields},
        MAP: store.client().fetch,
        ACTORS: store.client(local=False).fetch,
    }


def remote_ways(corpus: Corpus, folder: Path, stack: ExitStack) -> dict[str, Fetch]:
    """Ways of getting at the rows of a corpus elsewhere.

    Args:
        corpus: The rows.
        folder: For copies and blocks.
        stack: Ends what is started.
    """
    room = 2 * sum(info.num_bytes for shard in corpus.shards for info in shard.files.values())
    ways: dict[str, Fetch] = {}
    for name, mount in ((HYDRATED, "hydrate"), (RANGES, "range")):
        place = str(folder / name)  # one for each: a copy would be found in place of the blocks
        start = CorpusStore.start(corpus, 1, 1, mount, place, room)
        ways[name] = stack.enter_context(start).client().fetch
    return ways


def read_once(ways: Mapping[str, Fetch], num_rows: int) -> None:
    """Reads every row by every way: the first time files are checked, and blocks fetched."""
    for fetch in ways.values():
        for lo in range(0, num_rows, PIECE_ROWS):
            fetch(np.arange(lo, min(lo + PIECE_ROWS, num_rows)), _fields())


def _fields() -> tuple[str, ...]:
    return *INPUTS, *LABELLING.fields


@dataclass(frozen=True)
class Examples:
    """What all steps on a corpus learn from, the same whatever way rows come.

    Attributes:
        keys: Of the corpus.
        case: Sizes of a step; its keys are those of a window.
        batches: One a step.
    """

    keys: KeySet
    case: Case
    batches: list[Batch]

    @classmethod
    def draw(cls, corpus: Corpus, case: Case, read: Fetch, num_steps: int) -> "Examples":
        """Random examples that have a whole window of rows before them."""
        reader, rng = TableReader(read, (*INPUTS, "key"), LABELLING), np.random.default_rng(0)
        rows = [rng.integers(case.num_keys, len(corpus), case.batch) for _ in range(num_steps)]
        batches = [to_tensors(reader.examples(batch), CPU) for batch in rows]
        return cls(KeySet.load(corpus), case, batches)


class Stepper:
    """Trains a model of its own, step by step.

    Args:
        examples: What it learns from.
        fetch: How it gets at rows.
    """

    def __init__(self, examples: Examples, fetch: Fetch) -> None:
        self.examples, self.timer = examples, Timer()
        case, reader = examples.case, TableReader(fetch, INPUTS, LABELLING)
        history = TableHistory(examples.keys, reader, case.num_keys, with_inputs=True)
        torch.manual_seed(0)
        what = case, RetrievalStep, history, self.timer, CPU
        self.step, self.optimizer = make_step(*what)

    def __call__(self, number: int) -> dict[str, float]:
        """Does a step; its loss, its seconds and those of its parts."""
        batch, case = self.examples.batches[number], self.examples.case
        noise = step_noise(0, number, slice(None), case.batch, 1, case.slots)
        began = time.perf_counter()
        loss, _ = self.step(batch, noise, TEMPERATURE, 0.0)
        with self.timer("backward"):
            self.optimizer.step(loss, 0)
        spent, parts = time.perf_counter() - began, self.timer.reset()
        return {"loss": loss.item(), "step": spent} | {
            name: parts[f"seconds/{name}"] for name in PARTS
        }


def measure(steppers: Mapping[tuple[int, str], Stepper], num_steps: int) -> pd.DataFrame:
    """Median seconds of a step of each, and of its parts.

    They take turns step by step, so that whatever else the machine does slows all of them alike;
    each goes first equally often, as the first finds no keys in the processor's caches.

    Args:
        steppers: By rows of the corpus, and way.
        num_steps: Steps of each that count.

    Returns:
        A row each: `rows`, `way`, `step`, parts, `loss` of the last step; `to_array`, in units of
        a step from an array of as many rows, and `to_least`, of the same way with the least rows.
    """
    found: dict[tuple[int, str], list[dict[str, float]]] = {case: [] for case in steppers}
    order = list(steppers)
    for number in tqdm(range(WARM_UP + num_steps), unit="step of each"):
        for case in order:
            found[case].append(steppers[case](number))
        order = [*order[1:], order[0]]
    table = pd.DataFrame(
        {"rows": rows, "way": way, **_medians(steps[WARM_UP:])}
        for (rows, way), steps in found.items()
    )
    step, least = table.set_index(["rows", "way"])["step"], table["rows"].min()
    cases = list(zip(table["rows"], table["way"], strict=True))
    table["to_array"] = [step[case] / step[case[0], ARRAY] for case in cases]
    table["to_least"] = [step[case] / step[least, case[1]] for case in cases]
    return table


def _medians(steps: list[dict[str, float]]) -> dict[str, float]:
    return {**pd.DataFrame(steps).median(), "loss": steps[-1]["loss"]}


def plot(table: pd.DataFrame) -> Figure:
    """Seconds of a step by way, a bar for each number of rows."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    table.pivot_table("step", "way", "rows", sort=False).plot.bar(ax=axes, rot=0)
    axes.set(xlabel="where rows come from", ylabel="seconds a step")
    return figure
