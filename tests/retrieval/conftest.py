"""Makes the reference importable beside the tests, and the draw callable on each of its paths."""

import sys
from pathlib import Path

import pytest
import torch

from raclib import retrieval
from raclib.retrieval import Draw, QuantizedKeys, fused, product
from raclib.retrieval.greedy import greedy_rows

sys.path.insert(0, str(Path(__file__).parent))
HAS_GPU = torch.cuda.is_available()


class DrawOn:
    """`draw` on a device; tensors come from the CPU and go back to it."""

    def __init__(self, device, is_fused):
        self.device, self.is_fused = device, is_fused
        self.interpreted = is_fused and not HAS_GPU

    def __call__(self, *args, **kwargs):
        out = self._call(retrieval.draw, args, kwargs)
        return Draw(*(None if field is None else field.cpu() for field in out))

    def greedy(self, *args, **kwargs):
        """`greedy_rows`, likewise."""
        return self._call(greedy_rows, args, kwargs).cpu()

    def weight_rounding(self, dtype):
        """Of the weights that key sums are made with, relative: that of float32, and tensor cores
        take some bits more."""
        if not self.is_fused or self.interpreted:
            return 2**-22
        return 2**-16 if dtype in (torch.bfloat16, torch.int8) else 2**-20

    def few(self, number, fewer):
        """`number`, or `fewer` where Triton's interpreter is too slow for it."""
        return fewer if self.interpreted else number

    def _call(self, function, args, kwargs):
        moved = {name: self._move(value) for name, value in kwargs.items()}
        return function(*map(self._move, args), **moved)

    def _move(self, value):
        if isinstance(value, QuantizedKeys):
            return QuantizedKeys(*(part.to(self.device) for part in value))
        return value.to(self.device) if isinstance(value, torch.Tensor) else value


PATHS = ["streamed", "without oneDNN", "fused", *(["streamed on GPU"] if HAS_GPU else [])]


@pytest.fixture(scope="module", params=PATHS)
def draw(request):
    """Streamed by PyTorch, with oneDNN's products and without, and by kernels: on a GPU, else in
    Triton's interpreter."""
    on_cpu = request.param in ("streamed", "without oneDNN")
    device = "cuda" if HAS_GPU and not on_cpu else "cpu"
    is_fused = request.param == "fused"
    if is_fused:
        pytest.importorskip("triton")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "DEVICES", {device} if is_fused else set())
        if request.param == "without oneDNN":
            patch.setattr(product, "HAS_ONEDNN", False)
        for size in ("ROUND_ROWS", "ROUND_COLUMNS"):  # small problems by oneDNN too
            patch.setattr(product, size, 1)
        path = DrawOn(device, is_fused)
        for piece in ("PIECE", "PIECE_LEFT_OUT"):  # several in a tile also where keys are few
            patch.setattr(fused, piece, path.few(getattr(fused, piece), fused.BLOCK_KEYS))
        yield path
