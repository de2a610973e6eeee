"""Exact draws from a softmax over all keys, in memory that does not grow with them."""

from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from raclib.errors import UserError
from raclib.retrieval.few import draw_few
from raclib.retrieval.gradient import log_prob_slope, with_gradient
from raclib.retrieval.greedy import greedy_rollout, whole_rows
from raclib.retrieval.layout import MAX_GROUPS, Layout, tile_size
from raclib.retrieval.precision import full_precision
from raclib.retrieval.problem import Problem, check_finite
from raclib.retrieval.rollout import sampled_rollout
from raclib.retrieval.scan import parts, scan
from raclib.retrieval.stats import KeySums, TileStats
from raclib.retrieval.table import QuantizedKeys


class Draw(NamedTuple):
    """Rows drawn for a batch.

    Attributes:
        rows: int64 [B, S], sampled one slot after the other without replacement; -1 where an
            example has no eligible row left. [M, B, S] where M sets were asked for.
        log_prob: As `rows`, log-probability of each row among the rows left, differentiable in the
            queries; 0 and without gradient at -1.
        greedy: int64 [B, S], the best row left in each slot with a mask of its own, ties to the
            lowest row; -1 as in `rows`; None where it was not asked for.
        entropy: [B, S], of each slot's distribution over all eligible rows, nats, no gradient.
    """

    rows: Tensor
    log_prob: Tensor
    greedy: Tensor | None
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
    with_greedy: bool = True,
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
            [M, B, S, 2] draws M independent sets of rows; the keys are scored once for all.
        with_greedy: Whether the greedy rows are wanted; `greedy_rows` gives them alone.

    Raises:
        UserError: Shapes, types, devices or intervals do not fit, or a number is not finite.
    """
    problem = Problem.build(queries, keys, temperature, lo, hi, scale)
    uniforms = _uniforms(queries, generator, uniforms)
    uniforms_MBS2 = uniforms if uniforms.dim() == 4 else uniforms[None]
    ordered, order_B = problem.by_interval()
    tile = tile_size(len(problem.keys))
    narrowed, base = ordered.narrowed(tile)
    if not len(narrowed.keys):
        return _nothing(queries, problem, uniforms, with_greedy)
    differentiable = torch.is_grad_enabled() and queries.requires_grad
    drawn = [
        _draw_part(
            narrowed.examples(part),
            tile,
            uniforms_MBS2[:, order_B[part]],
            differentiable,
            with_greedy,
        )
        for part in parts(narrowed, tile)
    ]
    *found, greedy = zip(*drawn, strict=True)
    inverse_B = torch.argsort(order_B)
    shape = uniforms.shape[:-1]
    rows, log_prob, slope, entropy = (  # with so many dimensions from examples on
        torch.cat(field, -dims).index_select(-dims, inverse_B)
        for field, dims in zip(found, (2, 2, 3, 2), strict=True)
    )
    return Draw(
        torch.where(rows < 0, -1, rows + base).view(shape),
        with_gradient(log_prob.view(shape), queries, slope.view(*shape, -1)),
        whole_rows(greedy, order_B, base) if with_greedy else None,
        entropy,
    )


def _nothing(queries: Tensor, problem: Problem, uniforms: Tensor, with_greedy: bool) -> Draw:
    zeros_BSd = torch.zeros_like(problem.queries_BSd)
    zeros_BS = zeros_BSd[..., 0]
    greedy_BS = torch.full_like(zeros_BS, -1, dtype=torch.int64)
    shape = uniforms.shape[:-1]
    log_prob = with_gradient(zeros_BS.expand(shape), queries, zeros_BSd)
    rows = greedy_BS.expand(shape).clone()
    return Draw(rows, log_prob, greedy_BS if with_greedy else None, zeros_BS)


def _draw_part(
    problem: Problem, tile: int, uniforms_MBS2: Tensor, differentiable: bool, with_greedy: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Rows, log_prob, d log_prob / d queries [M, B, ...], entropy of some examples, and greedy."""
    if tile >= len(problem.keys):
        few = draw_few(problem, uniforms_MBS2[..., 1], differentiable, with_greedy)
        for found in few[:-1]:
            check_finite(found)
        return few
    # Keys of an example's own are summed in one go after the draw, at no greater cost.
    summed = differentiable and not problem.keys.per_example
    layout = Layout.cut(len(problem.keys), tile, MAX_GROUPS if summed else 1)
    stats, sums = scan(problem, layout, summed)
    entropy_BS = stats.entropy()
    check_finite(entropy_BS)
    greedy_BS = greedy_rollout(problem, stats.tops_BSN.clone(), tile) if with_greedy else None
    num_sets = len(uniforms_MBS2)
    sampled = [
        sampled_rollout(problem, held, tile, uniforms_BS2)
        for held, uniforms_BS2 in zip(_copies(stats, num_sets), uniforms_MBS2, strict=True)
    ]
    slope_MBSd = problem.queries_BSd.new_zeros(num_sets, *problem.queries_BSd.shape)
    if differentiable:
        for slope_BSd, own, each in zip(slope_MBSd, _copies(sums, num_sets), sampled, strict=True):
            slope_BSd.copy_(log_prob_slope(problem, layout, own, each))
        check_finite(slope_MBSd)  # of keys beyond all intervals too, where tiles hold some
    rows_MBS = torch.stack([each.rows_BS for each in sampled])
    log_prob_MBS = torch.stack([each.log_prob_BS for each in sampled]).to(slope_MBSd.dtype)
    return rows_MBS, log_prob_MBS, slope_MBSd, entropy_BS, greedy_BS


Held = TypeVar("Held", TileStats, KeySums | None)


def _copies(held: Held, count: int) -> Iterator[Held]:
    """`held` that many times for uses that overwrite it; the last is no copy."""
    yield from (deepcopy(held) for _ in range(count - 1))
    yield held


def _uniforms(
    queries: Tensor, generator: torch.Generator | None, uniforms: Tensor | None
) -> Tensor:
    shape = (*queries.shape[:2], 2)
    if uniforms is None:
        device = queries.device if generator is None else generator.device
        uniforms = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
    elif (
        uniforms.shape[-3:] != shape
        or (uniforms.dim() > 3 and (uniforms.dim() > 4 or not len(uniforms)))
        or uniforms.dtype != torch.float64
    ):
        raise UserError(
            f"uniforms are {list(uniforms.shape)} {uniforms.dtype}: expected float64 {list(shape)} "
            "or [M, ...]"
        )
    elif not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        raise UserError("uniforms leave [0, 1): draw them with torch.rand")
    return uniforms.to(queries.device)
