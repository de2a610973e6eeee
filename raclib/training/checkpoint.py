"""State from which a run continues as if it had never stopped."""

import tempfile
from pathlib import Path

import ray.train
import torch
from torch import Tensor, nn

STATE_FILE = "state.pt"


def save(module: nn.Module, optimizer: torch.optim.Optimizer, next_step: int) -> None:
    """Reports a checkpoint to Ray Train; every worker must call it, rank 0 writes.

    Schedules, the order of examples and the noise of draws and dropout are functions of (seed,
    step), so that the step is all that has to be kept of them.

    Args:
        module: The step, with the model and the estimator's state in it.
        optimizer: Its optimiser.
        next_step: First step not yet done.
    """
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({"step": next_step})
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "next_step": next_step,
        }
        torch.save(state, Path(folder) / STATE_FILE)
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"step": next_step}, checkpoint=checkpoint)


def restore(module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads the last checkpoint of this run, if there is one; returns the step to go on with."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    state = read(checkpoint)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["next_step"]


def model_weights(checkpoint: ray.train.Checkpoint) -> dict[str, Tensor]:
    """The weights of the model in a checkpoint, on the CPU."""
    module = read(checkpoint)["module"]
    return {
        name.removeprefix("model."): value
        for name, value in module.items()
        if name.startswith("model.")
    }


def read(checkpoint: ray.train.Checkpoint) -> dict:
    """The state in a checkpoint, on the CPU."""
    with checkpoint.as_directory() as folder:
        return torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)
