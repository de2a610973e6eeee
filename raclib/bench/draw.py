"""The draw beside other ways of getting rows from the same queries and keys: time and memory."""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raclib.retrieval.draw import draw
from raclib.retrieval.greedy import greedy_rows
from raclib.retrieval.nearest import nearest
from raclib.retrieval.product import HAS_ONEDNN, product
from raclib.retrieval.table import KeyTable, QuantizedKeys, quantize
from raclib.run.memory import peak, reset_peak

KeyType = Literal["float32", "bfloat16", "float16", "int8"]
TILES = {"cpu": 2**12, "cuda": 2**14}  # rows of a tile of the bare products
LARGEST_LOGITS = 2**30  # [B, K] numbers a rival may hold: 4 GB

Contender = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is drawn from."""

    num_keys: int
    batch: int
    slots: int
    width: int
    dtype: KeyType
    temperature: float
    device: str
    unit_keys: bool = False
    nearest: tuple[int, ...] = ()


def device_name(device: str) -> str:
    """What the figures were measured on."""
    return device if device == "cpu" else torch.cuda.get_device_name()


def random_keys(case: Case) -> Tensor | QuantizedKeys:
    """Normal keys, of length 1 if asked for; made in pieces, never held in two types at once."""
    dtype = getattr(torch, case.dtype)
    values = torch.empty(case.num_keys, case.width, dtype=dtype, device=case.device)
    scales = torch.empty(case.num_keys if case.dtype == "int8" else 0, device=case.device)
    for start in range(0, case.num_keys, TILES[case.device]):
        piece = slice(start, min(start + TILES[case.device], case.num_keys))
        keys = torch.randn(values[piece].shape, device=case.device)
        if case.unit_keys:
            keys = F.normalize(keys)
        if case.dtype == "int8":
            values[piece], scales[piece] = quantize(keys)
        else:
            values[piece] = keys
    return QuantizedKeys(values, scales) if case.dtype == "int8" else values


def contenders(case: Case) -> dict[str, Contender]:
    """What is measured: the draw, the products it cannot do without, and its rivals."""
    queries = torch.randn(case.batch, case.slots, case.width, device=case.device)
    queries.requires_grad_()
    keys = random_keys(case)
    table = KeyTable.wrap(keys, queries)
    found: dict[str, Contender] = {
        "one product": lambda: _products(queries, table, 1),
        "two products": lambda: _products(queries, table, 2),
        **(_rounded(queries, keys) if case.device == "cuda" else _by_onednn(queries, table)),
        "draw": lambda: _draw(queries.detach(), keys, case.temperature),
        "draw and gradient": lambda: _draw(queries, keys, case.temperature),
        "greedy rows": lambda: greedy_rows(queries, keys),
    }
    if case.batch * case.num_keys <= LARGEST_LOGITS and case.num_keys < 2**24:
        for name, pick in {"multinomial": _multinomial, "Gumbel-max": _gumbel_max}.items():
            found[name] = partial(_materialised, queries, table, case.temperature, pick)
    for count in case.nearest:
        found[f"nearest {count}"] = partial(_nearest, queries, keys, count)
        if find_spec("faiss") and isinstance(keys, Tensor) and case.dtype == "float32":
            found[f"FAISS flat {count}"] = _faiss(queries, keys, count)
    return found


def _rounded(queries: Tensor, keys: Tensor | QuantizedKeys) -> dict[str, Contender]:
    """The products at the speed of tensor cores: all in bfloat16, so another law than the draw's.

    Scales are left out, as if int8 keys shared one.
    """
    values = keys.values if isinstance(keys, QuantizedKeys) else keys
    table = KeyTable(values, None, torch.bfloat16)
    rounded = queries.detach().bfloat16()
    return {
        "one product in bfloat16": lambda: _products(rounded, table, 1),
        "two products in bfloat16": lambda: _products(rounded, table, 2),
    }


def _by_onednn(queries: Tensor, table: KeyTable) -> dict[str, Contender]:
    """The products as the draw makes them; `torch.mm` takes MKL's, slower on some CPUs."""
    if not HAS_ONEDNN:
        return {}
    return {
        "one product by oneDNN": lambda: _products(queries, table, 1, by_onednn=True),
        "two products by oneDNN": lambda: _products(queries, table, 2, by_onednn=True),
    }


def _nearest(queries: Tensor, keys: Tensor | QuantizedKeys, count: int) -> None:
    flat = queries.flatten(0, 1)
    num_keys = len(keys.values if isinstance(keys, QuantizedKeys) else keys)
    lo = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    nearest(flat, keys, count, lo, torch.full_like(lo, num_keys))


def _draw(queries: Tensor, keys: Tensor | QuantizedKeys, temperature: float) -> None:
    out = draw(queries, keys, temperature)
    if queries.requires_grad:
        torch.autograd.grad(out.log_prob.sum(), queries)


@torch.no_grad()
def _products(queries: Tensor, table: KeyTable, count: int, by_onednn: bool = False) -> Tensor:
    """Scores of all keys by tiles, and for two products the sum of keys they weigh."""
    flat = queries.flatten(0, 1)
    tile_rows = TILES[flat.device.type]
    scores, total = flat.new_empty(len(flat) * tile_rows), torch.zeros_like(flat)
    for start in range(0, len(table), tile_rows):
        keys = table.rows(start, min(start + tile_rows, len(table))).read()
        if by_onednn:
            tile = product(flat, keys)
            if count == 2:
                total.add_(product(tile, keys.T))
            continue
        tile = scores[: len(flat) * len(keys)].view(len(flat), -1)
        torch.mm(flat, keys.T, out=tile)
        if count == 2:
            total.addmm_(tile, keys)
    return total


@torch.no_grad()
def _materialised(
    queries: Tensor, table: KeyTable, temperature: float, pick: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Rows and their log-probabilities, slot by slot over [B, K], rows drawn masked."""
    factor = 1 / math.sqrt(queries.shape[-1]) / temperature
    keys = table.read()
    rows: list[Tensor] = []
    log_probs: list[Tensor] = []
    for query in queries.unbind(1):
        logits = (query * factor) @ keys.T
        for row in rows:
            logits.scatter_(1, row, -torch.inf)
        log_prob = logits.log_softmax(-1)
        rows.append(pick(log_prob))
        log_probs.append(log_prob.gather(1, rows[-1]))
    return torch.cat(rows, 1), torch.cat(log_probs, 1)


def _multinomial(log_prob: Tensor) -> Tensor:
    return torch.multinomial(log_prob.exp(), 1)


def _gumbel_max(log_prob: Tensor) -> Tensor:
    noise = torch.rand_like(log_prob).log_().neg_().log_()
    return (log_prob - noise).argmax(-1, keepdim=True)


def _faiss(queries: Tensor, keys: Tensor, count: int) -> Contender:
    """Search, not sampling: what an exact index asks for the best rows of each query."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys.cpu().numpy())
    asked = queries.detach().flatten(0, 1).cpu().numpy()
    return lambda: index.search(asked, count)


@dataclass
class Measurement:
    """Least time of a contender over the rounds, and peak memory above what it started from."""

    contender: str
    seconds: float = math.inf
    peak_mb: float = math.nan


def measure(case: Case, rounds: int) -> list[dict[str, object]]:
    """Measures all contenders in turn, round after round, so that all meet the same machine."""
    entrants = contenders(case)
    found = {name: Measurement(name) for name in entrants}
    for _ in range(rounds):
        for name, contender in entrants.items():
            seconds, peak_mb = _once(contender, case.device)
            found[name].seconds = min(found[name].seconds, seconds)
            found[name].peak_mb = peak_mb
    return [{**asdict(case), **asdict(item)} for item in found.values()]


def _once(contender: Contender, device: str) -> tuple[float, float]:
    gc.collect()
    before = reset_peak(device)
    start = time.perf_counter()
    contender()
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, (peak(device) - before) / 1e6
