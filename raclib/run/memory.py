"""Peak memory of a piece of work in this process."""

import ctypes
from pathlib import Path

import torch

from raclib.errors import UserError

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: str) -> int:
    """Bytes held now, from where the peak starts again."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not CLEAR.exists():
        raise UserError(f"{CLEAR} is missing: peak memory on the CPU is measured on Linux only")
    # Memory freed but kept by the allocator would hide what the next contender takes.
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")
    return peak(device)


def peak(device: str) -> int:
    """Most bytes held since the peak was reset."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
