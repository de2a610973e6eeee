"""Rows come in page-locked memory where a process uses a GPU, in plain memory elsewhere."""

import numpy as np
import pytest
import torch

from raclib.corpus import Field
from raclib.corpus.buffers import allocate
from raclib.corpus.manifest import DTYPES


@pytest.fixture(params=["plain", "locked"])
def locked(request, monkeypatch):
    """Byte sizes of the page-locked memory that was asked for; None on a machine without a GPU."""
    if request.param == "plain":
        return None
    sizes, empty = [], torch.empty

    def locked_empty(num_bytes: int, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        sizes.append(num_bytes)
        return empty(num_bytes, dtype=dtype)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch, "empty", locked_empty)
    return sizes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("num_rows", [0, 7])
def test_memory_of_any_type(locked, dtype, shape, num_rows):
    field = Field(dtype, shape)
    found = allocate(num_rows, field)
    assert (found.dtype, found.shape) == (np.dtype(dtype), (num_rows, *shape))
    assert found.flags.writeable
    assert found.flags.c_contiguous
    assert locked in (None, [num_rows * field.row_bytes])
    found[...] = 1
    assert (found == 1).all()


@pytest.mark.parametrize("local", [True, False])
def test_a_fetch_fills_it(ray_cluster, corpus, rows, same, locked, local):
    from raclib.corpus import CorpusStore

    with CorpusStore.start(corpus, num_servers=1) as store:
        ids = np.array([3, 1, 4999, 1])
        found = store.client(local).fetch(ids, ("embedding", "label"))
    assert same(found, rows, ids)
    assert locked in (None, [4 * 48, 4])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pytorch_sees_that_it_is_page_locked():
    torch.zeros(1, device="cuda")
    rows = torch.from_numpy(allocate(9, Field("float16", (64,))))
    assert rows.is_pinned()
    rows.fill_(2)
    assert (rows.to("cuda", non_blocking=True) == 2).all()
