"""Peak memory of a training step against its sizes: Eqn 2 of arXiv 2604.07027, fitted.

The step is the Amazon task's, with rows made on the device in place of a corpus: what is measured
is what the device holds. Beside it the same step with the draw as Algorithm 1 writes it.
"""

import gc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import linregress
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from raclib.batch import Batch
from raclib.bench.reviews import Case, make_reviews, make_step
from raclib.retrieval.draw import Draw
from raclib.run.memory import peak, reset_peak
from raclib.training.noise import Noise, step_noise
from raclib.training.step import RetrievalStep, Space
from raclib.training.timer import Timer

STREAMED, MATERIALISED = "streamed", "materialised"
TERMS = {
    "keys (K d)": lambda case: case.num_keys * case.key_dim,
    "logits (B K)": lambda case: case.batch * case.num_keys,
    "rows (B kappa D)": lambda case: case.batch * case.slots * case.row_dim,
    "activations (B)": lambda case: case.batch,
}


SMALL = Case(batch=8, num_keys=1000, slots=2, key_dim=16, row_dim=16)


class MaterialisedStep(RetrievalStep):
    """Draws with the logits of all keys, one slot at a time, made again for the gradient."""

    def draw(self, queries_BSd: Tensor, space: Space, noise: Noise) -> Draw:
        """One sampled set [1, B, S]; the entropy is left out."""
        assert isinstance(space.keys, Tensor)
        factor = queries_BSd.shape[-1] ** -0.5 / space.temperature
        slot = partial(_log_prob_of_slot, keys_Kd=space.keys, factor=factor)
        sampled: list[Tensor] = []
        greedy: list[Tensor] = []
        log_probs: list[Tensor] = []
        for query_Bd in queries_BSd.unbind(1):
            with torch.no_grad():
                all_BK = slot(query_Bd, _stack(sampled, query_Bd))
                sampled.append(torch.multinomial(all_BK.exp_(), 1)[:, 0])
                all_BK = slot(query_Bd, _stack(greedy, query_Bd))
                greedy.append(all_BK.argmax(1))
                del all_BK
            before_BJ = _stack(sampled[:-1], query_Bd)
            log_probs.append(_picked(slot, query_Bd, before_BJ, sampled[-1]))
        zeros_BS = torch.zeros_like(queries_BSd[..., 0])
        rows_BS, log_prob_BS = torch.stack(sampled, 1), torch.stack(log_probs, 1)
        return Draw(rows_BS[None], log_prob_BS[None], torch.stack(greedy, 1), zeros_BS)


class MadeHistory:
    """Shared keys, and rows that are made when they are fetched."""

    def __init__(self, keys_Kd: Tensor, row_dim: int) -> None:
        self.keys_Kd, self.row_dim = keys_Kd, row_dim

    def select(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """All keys are eligible for everyone."""
        lo_B = torch.zeros_like(batch["label"])
        return self.keys_Kd, lo_B, torch.full_like(lo_B, len(self.keys_Kd))

    def look(self, batch: Batch) -> Tensor:
        """None: all rows are drawn."""
        return torch.empty(len(batch["label"]), 0, dtype=torch.int64, device=batch["label"].device)

    def fetch(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """Reviews of random numbers, `[M, B, S, ...]`, as a corpus stores them."""
        return make_reviews(rows_MBS.shape, self.row_dim, rows_MBS.device)


def measure(case: Case, variant: str, device: str) -> int:
    """Peak bytes of a training step above what was held before keys and model were made.

    In a process of its own: an allocator keeps what was freed, and would hide what comes next. All
    come from one server, which has imported what they need.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(_measure_here, case, variant, device).result()


def _measure_here(case: Case, variant: str, device: str) -> int:
    _step(SMALL, variant, torch.device(device))  # loads what is loaded once
    gc.collect()
    before = reset_peak(device)
    _step(case, variant, torch.device(device))
    return peak(device) - before


def _step(case: Case, variant: str, device: torch.device) -> None:
    keys_Kd = torch.empty(case.num_keys, case.key_dim, device=device).normal_()
    kind = RetrievalStep if variant == STREAMED else MaterialisedStep
    step, optimizer = make_step(case, kind, MadeHistory(keys_Kd, case.row_dim), Timer(), device)
    batch = make_reviews((case.batch,), case.row_dim, device)
    batch["key"] = torch.randn(case.batch, case.key_dim, device=device)
    noise = step_noise(0, 0, slice(None), case.batch, 1, case.slots).to(device)
    optimizer.step(step(batch, noise, 1.0, 0.0)[0], 0)


def fit(measured: pd.DataFrame) -> pd.DataFrame:
    """Least squares of bytes on the terms of Eqn 2, for each variant.

    Returns:
        One row a variant and term: `bytes` (a number, an example for the last), its standard
        `error`, and `r_squared` of the whole fit.
    """
    rows = []
    for variant, part in measured.groupby("variant", sort=False):
        columns = [part.apply(term, axis=1) for term in TERMS.values()]
        design = np.column_stack([*columns, np.ones(len(part))]).astype(float)
        size = np.abs(design).max(axis=0)
        scaled, target = design / size, part["bytes"].to_numpy(float)
        found, *_ = np.linalg.lstsq(scaled, target)
        rest = target - scaled @ found
        spread = rest @ rest / (len(target) - len(found))
        error = np.sqrt(spread * np.diag(np.linalg.inv(scaled.T @ scaled)))
        r_squared = 1 - rest @ rest / ((target - target.mean()) ** 2).sum()
        names = [*TERMS, "model and the rest"]
        rows += [
            (variant, *row, r_squared)
            for row in zip(names, found / size, error / size, strict=True)
        ]
    return pd.DataFrame(rows, columns=["variant", "term", "bytes", "error", "r_squared"])


def fit_axes(measured: pd.DataFrame, base: Case) -> pd.DataFrame:
    """A line through the points of each size alone, the others as in `base`."""
    rows = []
    for variant, part in measured.groupby("variant", sort=False):
        for name in SIZES:
            points = along(part, base, name)
            line = linregress(points[name], points["bytes"])
            rows.append((variant, name, line.slope, line.intercept, line.rvalue**2))
    return pd.DataFrame(rows, columns=["variant", "size", "slope", "intercept", "r_squared"])


SIZES = {
    "num_keys": "keys (K)",
    "batch": "examples (B)",
    "slots": "rows an example (kappa)",
    "key_dim": "numbers a key (d)",
}


def along(measured: pd.DataFrame, base: Case, name: str) -> pd.DataFrame:
    """The points that differ from `base` in this size at most."""
    others = [field for field in vars(base) if field != name]
    same = (measured[others] == [getattr(base, field) for field in others]).all(axis=1)
    return measured[same].sort_values(name)


def plot(measured: pd.DataFrame, axes: pd.DataFrame, base: Case) -> Figure:
    """Peak memory against each size, points and lines."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    for axis, (name, title) in zip(figure.subplots(1, len(SIZES)), SIZES.items(), strict=True):
        for number, (variant, part) in enumerate(measured.groupby("variant", sort=False)):
            points = along(part, base, name)
            line = axes[(axes["variant"] == variant) & (axes["size"] == name)].iloc[0]
            fitted = line["intercept"] + line["slope"] * points[name]
            label, colour = f"{variant}, R² {line['r_squared']:.3f}", f"C{number}"
            axis.plot(points[name], fitted / 1e6, color=colour, label=label)
            axis.scatter(points[name], points["bytes"] / 1e6, color=colour)
        axis.set(xlabel=title, ylabel="peak MB of a step", ylim=(0, None))
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    return figure


def _log_prob_of_slot(query_Bd: Tensor, drawn_BJ: Tensor, keys_Kd: Tensor, factor: float) -> Tensor:
    """Log-probabilities [B, K] of all keys, those drawn before masked."""
    logits_BK = (query_Bd * factor) @ keys_Kd.T
    return logits_BK.scatter_(1, drawn_BJ, -torch.inf).log_softmax(1)


def _picked(slot: partial, query_Bd: Tensor, before_BJ: Tensor, row_B: Tensor) -> Tensor:
    """Log-probability of a row, [B]; no [B, K] is kept until the gradient wants it again."""

    def pick(query_Bd: Tensor) -> Tensor:
        return slot(query_Bd, before_BJ).gather(1, row_B[:, None])[:, 0]

    return checkpoint(pick, query_Bd, use_reentrant=False)


def _stack(rows: list[Tensor], query_Bd: Tensor) -> Tensor:
    """Rows drawn so far, [B, J]."""
    none_B0 = query_Bd.new_empty(len(query_Bd), 0, dtype=torch.int64)
    return torch.stack(rows, 1) if rows else none_B0
