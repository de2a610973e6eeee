"""The draw against its materialised reference: values, gradients, masks, dtypes, intervals."""

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from raclib.errors import UserError
from raclib.retrieval import QuantizedKeys, fused, quantize


def problem(batch, slots, num_keys, width, per_example=False, windows=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_keys, width) if per_example else (num_keys, width)
    keys = torch.randn(shape, generator=generator)
    queries = torch.randn(batch, slots, width, generator=generator, requires_grad=True)
    if not windows:
        return queries, keys, None, None
    bounds = torch.randint(0, num_keys + 1, (batch, 2), generator=generator)
    return queries, keys, bounds.amin(1), bounds.amax(1)


def check(draw, queries, keys, temperature, lo, hi, exact_keys=None, condition=0, **tolerance):
    out = draw(queries, keys, temperature, lo, hi)
    exact = queries.detach().double().requires_grad_()
    exact_keys = (keys if exact_keys is None else exact_keys).double()
    logits = reference.logits_of(exact, exact_keys, temperature, lo, hi)
    log_prob = reference.log_prob_of(logits, out.rows)
    assert_close(out.log_prob.double(), log_prob, **tolerance)
    assert_close(out.entropy.double(), reference.entropy_of(logits), **tolerance)
    assert torch.equal(out.greedy, reference.greedy_of(logits))
    assert torch.equal(out.rows < 0, out.greedy < 0)
    weights = torch.randn(out.rows.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((out.log_prob * weights).sum(), queries)
    (expected,) = torch.autograd.grad((log_prob * weights).sum(), exact)
    slope = exact_keys.abs().max() / (exact_keys.shape[-1] ** 0.5 * temperature)
    rounding = condition * slope * weights.norm()
    assert (gradient - expected).norm() <= 1e-4 * expected.norm() + rounding + 1e-12
    return out


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("num_keys", [1, 3, 64, 257, 5000])
def test_equals_reference(draw, num_keys, windows, per_example):
    queries, keys, lo, hi = problem(5, 4, num_keys, 8, per_example, windows)
    check(draw, queries, keys, 0.5, lo, hi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [100.0, 0.01])
def test_equals_reference_flat_and_peaked(draw, temperature):
    queries, keys, lo, hi = problem(6, 4, draw.few(100_000, 5000), 16)
    check(draw, queries, keys / 4, temperature, lo, hi, rtol=1e-4, atol=1e-4)


@given(
    batch=st.integers(1, 5),
    slots=st.integers(1, 5),
    num_keys=st.integers(1, 700),
    width=st.integers(1, 9),
    per_example=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int8]),
    temperature=st.sampled_from([0.05, 1.0, 20.0]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_equals_reference_for_any_shape_type_and_interval(
    draw, batch, slots, num_keys, width, per_example, dtype, temperature, seed
):
    queries, keys, lo, hi = problem(batch, slots, num_keys, width, per_example, seed=seed)
    held = quantize(keys) if dtype == torch.int8 else keys.to(dtype)
    exact = held.values * held.scales[..., None] if dtype == torch.int8 else held.float()
    # Where the row drawn and all of the mass beside it have nearly equal keys, their difference is
    # as coarse as the weights of the key sums.
    condition = draw.weight_rounding(dtype)
    check(draw, queries, held, temperature, lo, hi, exact, condition, rtol=1e-3, atol=1e-4)


def test_finite_differences_in_float64(draw):
    if draw.interpreted:
        pytest.skip("kernels leave float64 to PyTorch (test_kernels_do_what_fits_them)")
    queries, keys, lo, hi = problem(2, 3, 900, 4)
    uniforms = torch.rand(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def log_prob(values):
        return draw(values, keys.double(), 0.7, lo, hi, uniforms=uniforms).log_prob

    # Steps of 1e-6 do not move a uniform across a row here: the drawn rows stay.
    assert torch.autograd.gradcheck(log_prob, queries.detach().double().requires_grad_())


def test_rows_are_eligible_and_distinct(draw):
    queries, keys, lo, hi = problem(50, 6, 400, 4)
    out = draw(queries, keys, 0.1, lo, hi)
    for rows in (out.rows, out.greedy):
        for row, low, high in zip(rows, lo, hi, strict=True):
            drawn = row[row >= 0]
            assert len(drawn) == min(6, high - low)
            assert ((drawn >= low) & (drawn < high)).all()
            assert len(drawn.unique()) == len(drawn)


def test_too_few_rows_are_minus_one_without_gradient(draw):
    queries, keys = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4)
    out = draw(queries, keys, lo=torch.tensor([2, 2]), hi=torch.tensor([2, 4]))
    assert out.rows[0].tolist() == [-1] * 3
    assert out.rows[1, 2] == -1 and set(out.rows[1, :2].tolist()) == {2, 3}
    assert (out.log_prob[out.rows < 0] == 0).all()
    (gradient,) = torch.autograd.grad(out.log_prob.sum(), queries)
    assert (gradient[out.rows < 0] == 0).all() and gradient.isfinite().all()


@pytest.mark.parametrize("batch, num_keys", [(2, 0), (0, 5)])
def test_empty_history_or_batch(draw, batch, num_keys):
    queries = torch.randn(batch, 3, 4, requires_grad=True)
    out = draw(queries, torch.randn(num_keys, 4))
    assert out.rows.shape == out.greedy.shape == (batch, 3) and (out.rows == -1).all()
    assert (torch.autograd.grad(out.log_prob.sum(), queries)[0] == 0).all()
    sets = draw(queries, torch.randn(num_keys, 4), uniforms=torch.rand(5, batch, 3, 2).double())
    assert sets.rows.shape == sets.log_prob.shape == (5, batch, 3) and (sets.rows == -1).all()


def test_greedy_takes_the_lowest_of_equals(draw):
    keys = torch.tensor([[0.0], [1.0], [1.0]]).repeat(700, 1)
    out = draw(torch.ones(2, 3, 1), keys, lo=torch.tensor([0, 900]))
    assert out.greedy.tolist() == [[1, 2, 4], [901, 902, 904]]


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("num_keys", [50, 5000])
def test_greedy_rows_need_no_draw(draw, num_keys, per_example):
    queries, keys, lo, hi = problem(6, 3, draw.few(num_keys, min(num_keys, 1500)), 8, per_example)
    out = draw(queries, keys, 1.0, lo, hi)
    assert torch.equal(draw.greedy(queries, keys, lo, hi), out.greedy)
    assert (draw.greedy(queries, keys, lo, lo) == -1).all()
    alone = draw(queries, keys, 1.0, lo, hi, with_greedy=False)
    assert alone.greedy is None and (alone.rows >= 0).equal(out.rows >= 0)
    with pytest.raises(UserError, match="not finite"):
        draw.greedy(queries, torch.full_like(keys, torch.nan))


def test_uniforms_fix_the_draw_whatever_the_batch(draw):
    queries, keys, lo, hi = problem(8, 4, draw.few(9000, 1500), 8)
    uniforms = torch.rand(8, 4, 2, dtype=torch.float64)
    whole = draw(queries, keys, 0.5, lo, hi, uniforms=uniforms)
    for part in (slice(0, 3), slice(3, 8)):
        alone = draw(queries[part], keys, 0.5, lo[part], hi[part], uniforms=uniforms[part])
        assert torch.equal(alone.rows, whole.rows[part])
        assert torch.equal(alone.greedy, whole.greedy[part])


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("num_keys", [50, 5000])
def test_sets_are_as_if_drawn_one_by_one(draw, num_keys, per_example):
    queries, keys, lo, hi = problem(4, 3, draw.few(num_keys, min(num_keys, 1500)), 8, per_example)
    uniforms = torch.rand(3, 4, 3, 2, dtype=torch.float64)
    sets = draw(queries, keys, 0.5, lo, hi, uniforms=uniforms)
    ones = [draw(queries, keys, 0.5, lo, hi, uniforms=each) for each in uniforms]
    assert torch.equal(sets.rows, torch.stack([one.rows for one in ones]))
    assert torch.equal(sets.greedy, ones[0].greedy)
    assert_close(sets.log_prob, torch.stack([one.log_prob for one in ones]))
    assert_close(sets.entropy, ones[0].entropy)
    weights = torch.arange(1.0, 4)
    (gradient,) = torch.autograd.grad(sets.log_prob.sum((1, 2)) @ weights, queries)
    expected = [torch.autograd.grad(one.log_prob.sum(), queries)[0] for one in ones]
    assert_close(gradient, sum(map(torch.mul, weights, expected)))


def test_generator_fixes_the_draw(draw):
    queries, keys, lo, hi = problem(4, 4, 900, 8)
    first, second, other = (
        draw(queries, keys, 1.0, lo, hi, generator=torch.Generator().manual_seed(seed)).rows
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_queries_and_intervals_need_not_be_contiguous(draw):
    queries, keys, lo, hi = problem(4, 3, 600, 8)
    strided = queries.detach().transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    bounds = torch.stack([lo, hi], 1)
    assert not strided.is_contiguous() and not bounds[:, 0].is_contiguous()
    check(draw, strided, keys, 0.5, *bounds.unbind(1), rtol=1e-5, atol=1e-5)


def test_keys_need_not_be_contiguous(draw):
    queries, keys, lo, hi = problem(4, 3, 600, 8)
    strided = torch.randn(600, 16)[:, ::2].copy_(keys)
    uniforms = torch.rand(4, 3, 2, dtype=torch.float64)
    for other in (strided, keys.T.contiguous().T):
        assert not other.is_contiguous()
        assert_close(
            draw(queries, other, 1.0, lo, hi, uniforms=uniforms),
            draw(queries, keys, 1.0, lo, hi, uniforms=uniforms),
        )


def test_no_gradient_wanted_gives_the_same_draw(draw):
    queries, keys, lo, hi = problem(4, 3, 3000, 8)
    uniforms = torch.rand(4, 3, 2, dtype=torch.float64)
    with torch.no_grad():
        out = draw(queries, keys, 1.0, lo, hi, uniforms=uniforms)
    assert not out.log_prob.requires_grad
    assert_close(out, draw(queries, keys, 1.0, lo, hi, uniforms=uniforms), check_layout=False)


def test_an_empty_interval_may_lie_beyond_all_others(draw):
    queries, keys, _, _ = problem(6, 2, 5000, 8)
    lo = torch.tensor([0, 0, 0, 0, 0, 5000])
    hi = torch.tensor([4160] * 5 + [5000])
    check(draw, queries, keys, 0.5, lo, hi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [65, 128, 130])
def test_wide_keys(draw, width):
    check(draw, *problem(3, 2, 700, width)[:2], 0.5, None, None, rtol=1e-5, atol=1e-5)


def test_scales_need_not_be_contiguous(draw):
    queries, keys, lo, hi = problem(4, 3, 600, 8)
    held = quantize(keys)
    strided = QuantizedKeys(held.values, torch.stack([held.scales, held.scales + 1], 1)[:, 0])
    uniforms = torch.rand(4, 3, 2, dtype=torch.float64)
    assert_close(
        draw(queries, strided, 1.0, lo, hi, uniforms=uniforms),
        draw(queries, held, 1.0, lo, hi, uniforms=uniforms),
    )
    one = QuantizedKeys(held.values, held.scales[:1].expand(600))
    exact = held.values * held.scales[0]
    check(draw, queries, one, 1.0, lo, hi, exact, rtol=1e-4, atol=1e-5)


def test_nan_beyond_all_intervals_is_an_error_or_without_effect(draw):
    queries, keys, _, _ = problem(4, 3, 600, 8)
    keys[10] = torch.nan
    try:
        out = draw(queries, keys, lo=torch.full((4,), 20))
    except UserError:
        return
    assert all(field.isfinite().all() for field in out)
    assert torch.autograd.grad(out.log_prob.sum(), queries)[0].isfinite().all()


def test_kernels_do_what_fits_them(draw, monkeypatch):
    passes, scan = [], fused.scan
    monkeypatch.setattr(fused, "scan", lambda *args: (passes.append(args), scan(*args)))
    queries, keys, _, _ = problem(4, 3, 600, 8)
    draw(queries, keys)
    assert len(passes) == draw.is_fused
    draw(queries, keys.expand(4, -1, -1))
    draw(queries.double(), keys.double())
    assert len(passes) == draw.is_fused


@pytest.mark.parametrize("autocast", [True, False])
def test_precision_asked_for_models_does_not_change_the_law(draw, autocast):
    queries, keys, lo, hi = problem(4, 3, 3000, 64)
    uniforms = torch.rand(4, 3, 2, dtype=torch.float64)
    expected = draw(queries, keys, 0.01, lo, hi, uniforms=uniforms)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast(draw.device, enabled=autocast):
            out = draw(queries, keys, 0.01, lo, hi, uniforms=uniforms)
        assert torch.get_float32_matmul_precision() == "medium"
        (gradient,) = torch.autograd.grad(out.log_prob.sum(), queries)
    finally:
        torch.set_float32_matmul_precision(before)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradient, torch.autograd.grad(expected.log_prob.sum(), queries)[0])


def _bad(**changed):
    return {"queries": torch.randn(2, 3, 4), "keys": torch.randn(50, 4), **changed}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (_bad(queries=torch.full((2, 3, 4), torch.nan)), "queries hold NaN"),
        (_bad(queries=torch.randn(3, 4)), "expected floats"),
        (_bad(keys=torch.full((50, 4), torch.nan)), "not finite"),
        (_bad(keys=torch.full((50, 4), -torch.inf)), "not finite"),
        (_bad(keys=torch.randn(50, 5)), r"expected \[K, 4\]"),
        (_bad(keys=torch.randn(3, 50, 4)), "hold 3 examples"),
        (_bad(keys=torch.zeros(50, 4, dtype=torch.int8)), "QuantizedKeys"),
        (_bad(keys=QuantizedKeys(torch.zeros(50, 4).char(), torch.ones(49))), "one scale a row"),
        (_bad(keys=QuantizedKeys(torch.zeros(50, 4), torch.ones(50))), "QuantizedKeys"),
        (_bad(lo=torch.tensor([3, 1]), hi=torch.tensor([2, 2])), "lo is above hi"),
        (_bad(hi=torch.tensor([51, 2])), "0..50"),
        (_bad(lo=torch.tensor([-1, 2])), "0..50"),
        (_bad(lo=torch.tensor([1])), r"expected int64 \[2\]"),
        (_bad(temperature=0.0), "above 0"),
        (_bad(temperature=1e-45), "not finite|above 0"),
        (_bad(scale=torch.nan), "finite"),
        (_bad(uniforms=torch.ones(2, 3, 2).double()), r"leave \[0, 1\)"),
        (_bad(uniforms=torch.rand(2, 3, 2)), "expected float64"),
        (_bad(uniforms=torch.rand(0, 2, 3, 2).double()), "expected float64"),
        (_bad(keys=QuantizedKeys(torch.zeros(50, 4).char(), torch.ones(50).int())), "float32"),
    ],
)
def test_bad_input_is_named(draw, arguments, message):
    with pytest.raises(UserError, match=message):
        draw(**arguments)
