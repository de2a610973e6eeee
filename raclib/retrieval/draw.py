"""Exact draws from a softmax over all keys, in memory that does not grow with them."""

from typing import NamedTuple

import torch
from torch import Tensor

from raclib.errors import UserError
from raclib.retrieval.gradient import log_prob_slope, with_gradient
from raclib.retrieval.layout import MAX_GROUPS, Layout, tile_size
from raclib.retrieval.precision import full_precision
from raclib.retrieval.problem import Problem, room
from raclib.retrieval.rollout import greedy_rollout, sampled_rollout
from raclib.retrieval.scan import scan
from raclib.retrieval.table import QuantizedKeys

STATS_NUMBERS = 2**21  # of each tile statistic, for the examples drawn together
SUMS_NUMBERS = 2**23  # of the key sums by groups, likewise


class Draw(NamedTuple):
    """Rows drawn for a batch.

    Attributes:
        rows: int64 [B, S], sampled one slot after the other without replacement; -1 where an
            example has no eligible row left.
        log_prob: [B, S], log-probability of each row among the rows left, differentiable in the
            queries; 0 and without gradient at -1.
        greedy: int64 [B, S], the best row left in each slot with a mask of its own, ties to the
            lowest row; -1 as in `rows`.
        entropy: [B, S], of each slot's distribution over all eligible rows, nats, no gradient.
    """

    rows: Tensor
    log_prob: Tensor
    greedy: Tensor
    entropy: Tensor


@full_precision()
def draw(
    queries: Tensor,
    keys: Tensor | QuantizedKeys,
    temperature: float = 1.0,
    lo: Tensor | None = None,
    hi: Tensor | None = None,
    generator: torch.Generator | None = None,
    scale: float | None = None,
    uniforms: Tensor | None = None,
) -> Draw:
    """Draws a row for each query from softmax(scale * q.k / temperature), without replacement.

    The keys are read once in tiles; nothing of size [B, K] is held. They are constants here: no
    gradient reaches them. Logits are float32 sums whatever the keys' type, float64 if queries and
    keys both are; neither autocast nor `torch.set_float32_matmul_precision` makes them less.

    Args:
        queries: Float [B, S, d], one query a slot.
        keys: [K, d] shared by all examples, or [B, K, d]; float32, bfloat16, float16, float64, or
            int8 as `QuantizedKeys`.
        temperature: Divides the logits, above 0.
        lo: int64 [B], first eligible row of each example; 0 if None.
        hi: int64 [B], one past the last eligible row; K if None.
        generator: Source of the uniforms; the default generator of the queries' device if None.
        scale: Factor of the logits; 1 / sqrt(d) if None.
        uniforms: float64 [B, S, 2] in [0, 1), used in place of `generator`: equal uniforms give
            equal draws however examples are grouped into batches (up to rounding of the scores).

    Raises:
        UserError: Shapes, types, devices or intervals do not fit, or a number is not finite.
    """
    problem = Problem.build(queries, keys, temperature, lo, hi, scale)
    uniforms_BS2 = _uniforms(queries, generator, uniforms)
    ordered, order_B = problem.by_interval()
    tile = tile_size(len(problem.keys))
    narrowed, base = ordered.narrowed(tile)
    if not len(narrowed.keys):
        return _nothing(queries, problem)
    differentiable = torch.is_grad_enabled() and queries.requires_grad
    parts = [
        _draw_part(narrowed.examples(part), tile, uniforms_BS2[order_B[part]], differentiable)
        for part in _parts(narrowed, tile)
    ]
    inverse_B = torch.argsort(order_B)
    joined = [torch.cat(field)[inverse_B] for field in zip(*parts, strict=True)]
    rows, log_prob, greedy, entropy, slope = joined
    return Draw(
        torch.where(rows < 0, -1, rows + base),
        with_gradient(log_prob, queries, slope),
        torch.where(greedy < 0, -1, greedy + base),
        entropy,
    )


def _nothing(queries: Tensor, problem: Problem) -> Draw:
    zeros_BS = torch.zeros_like(problem.queries_BSd[..., 0])
    log_prob = with_gradient(zeros_BS, queries, torch.zeros_like(problem.queries_BSd))
    rows = torch.full_like(zeros_BS, -1, dtype=torch.int64)
    return Draw(rows, log_prob, rows.clone(), zeros_BS)


def _draw_part(
    problem: Problem, tile: int, uniforms_BS2: Tensor, differentiable: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The fields of `Draw` for some examples, and d log_prob / d queries."""
    # Keys of an example's own are summed in one go after the draw, at no greater cost.
    summed = differentiable and not problem.keys.per_example
    layout = Layout.cut(len(problem.keys), tile, MAX_GROUPS if summed else 1)
    stats, sums = scan(problem, layout, summed)
    entropy_BS = stats.entropy()
    if not bool(entropy_BS.isfinite().all()):
        raise UserError("scores are not finite: clear keys of NaN, or raise temperature")
    greedy_BS = greedy_rollout(problem, stats.tops_BSN.clone(), tile)
    sampled = sampled_rollout(problem, stats, tile, uniforms_BS2)
    slope_BSd = torch.zeros_like(problem.queries_BSd)
    if differentiable:
        slope_BSd = log_prob_slope(problem, layout, sums, sampled)
    log_prob_BS = sampled.log_prob_BS.to(slope_BSd.dtype)
    return sampled.rows_BS, log_prob_BS, greedy_BS, entropy_BS, slope_BSd


def _parts(problem: Problem, tile: int) -> list[slice]:
    """Examples drawn together: as many as bounded memory allows."""
    batch, slots, width = problem.queries_BSd.shape
    num_tiles = -(-len(problem.keys) // tile)
    stats = tile if num_tiles == 1 else num_tiles  # the scores of an only tile are kept
    sums = 1 if problem.keys.per_example else min(num_tiles, MAX_GROUPS)
    device = problem.lo_B.device
    most_stats, most_sums = room(STATS_NUMBERS, device), room(SUMS_NUMBERS, device)
    step = max(min(most_stats // stats, most_sums // (sums * width)) // slots, 1)
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


def _uniforms(
    queries: Tensor, generator: torch.Generator | None, uniforms: Tensor | None
) -> Tensor:
    shape = (*queries.shape[:2], 2)
    if uniforms is None:
        device = queries.device if generator is None else generator.device
        uniforms = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
    elif uniforms.shape != shape or uniforms.dtype != torch.float64:
        raise UserError(
            f"uniforms are {list(uniforms.shape)} {uniforms.dtype}: expected float64 {list(shape)}"
        )
    elif not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        raise UserError("uniforms leave [0, 1): draw them with torch.rand")
    return uniforms.to(queries.device)
