"""Files of tensors: whole or not there, and known as damaged where something else cut them."""

import io
from contextlib import suppress
from typing import Any

import torch

from raclib.corpus.archive import is_whole
from raclib.corpus.atomic import write_atomic
from raclib.corpus.faults import DamagedError
from raclib.corpus.files import clear_errors, read_bytes


def save_state(uri: str, state: dict[str, Any]) -> None:
    """Writes a state of tensors, whole or not at all.

    Raises:
        UserError: if it cannot be written, such as for want of space.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)  # a disk that is full would be an internal error of torch
    with clear_errors(uri), write_atomic(uri) as file:
        file.write(buffer.getbuffer())


def load_state(uri: str) -> dict[str, Any]:
    """A state of tensors, on the CPU.

    Raises:
        DamagedError: if it is not what was written.
        UserError: if it cannot be read.
    """
    file = io.BytesIO(read_bytes(uri))
    with suppress(RuntimeError):  # of torch, where the table of contents is damaged
        if is_whole(file):
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    raise DamagedError(f"{uri}: not whole, as a full disk or a crash leaves it")
