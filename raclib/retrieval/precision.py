"""Products in full float32, whatever speed a training script asked of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """No autocast, no TF32 and no bfloat16 in the block, or in a function decorated with it.

    Logits at temperature 0.001 stand for numbers a thousand times smaller: rounded to 8 bits they
    are another law, and nothing would say so. The process's settings are changed for the time of
    the block where they ask for less: other threads then multiply in full precision too.
    """
    matmuls = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    backends = [backend for backend in matmuls if backend.fp32_precision not in ("none", "ieee")]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
