import pytest
import torch
from torch.testing import assert_close

from raclib.retrieval import product as module
from raclib.retrieval.product import product


@pytest.fixture(params=[True, False], ids=["oneDNN", "PyTorch"], autouse=True)
def path(request, monkeypatch):
    if request.param and not module.HAS_ONEDNN:
        pytest.skip("this build of PyTorch is without oneDNN's operator")
    monkeypatch.setattr(module, "HAS_ONEDNN", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(64, 2, 5), (7, 5), (0, 5)])
@pytest.mark.parametrize("columns", [11, 512, 600])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_that_of_every_row_with_every_other(dtype, shape, columns, biased):
    left, right = torch.randn(shape, dtype=dtype), torch.randn(columns, 5, dtype=dtype)
    bias = torch.randn(columns, dtype=dtype) if biased else None
    expected = torch.einsum("...d,nd->...n", left, right) + (bias if biased else 0)
    assert_close(product(left, right, bias), expected)


def test_matrices_need_not_be_contiguous_nor_shared():
    left, right = torch.randn(4, 32, 5), torch.randn(5, 11)
    assert_close(product(left, right.T), left @ right)
    assert_close(product(left[..., ::2], right[::2].T), left[..., ::2] @ right[::2])
    each = torch.randn(4, 7, 5)
    assert_close(product(left, each), left @ each.mT)


def test_odd_shapes_leave_nothing_behind(monkeypatch):
    shapes, by_onednn = [], module._by_onednn
    monkeypatch.setattr(
        module,
        "_by_onednn",
        lambda left, *args: (shapes.append(left.shape), by_onednn(left, *args))[1],
    )
    for number in range(1, 600):
        product(torch.randn(number, 4), torch.randn(512, 4))
        product(torch.randn(256, 4), torch.randn(number, 4))
    assert (len(shapes) > 10) == module.HAS_ONEDNN
    assert len(shapes) < 30  # each is a kernel that is kept


def test_a_missing_operator_is_done_without(monkeypatch):
    def missing(*args):
        raise AttributeError("no such operator")

    monkeypatch.setattr(module, "_by_onednn", missing)
    assert not module._has_onednn()
    monkeypatch.setattr(module, "_by_onednn", lambda left, right, bias: left @ right.T)
    assert not module._has_onednn()  # there, but without the bias
