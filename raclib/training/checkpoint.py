"""State from which a run continues as if it had never stopped."""

from pathlib import PurePosixPath

import ray.train
import torch
from ray.train import CheckpointUploadMode
from ray.train.collective import broadcast_from_rank_zero
from torch import Tensor, nn

from raclib.corpus.files import folders_in, remove_empty_folders, resolve
from raclib.errors import UserError
from raclib.training.state_file import load_state, save_state

STATE_FILE = "state.pt"
PREFIX = "checkpoint_"


def save(run_uri: str, module: nn.Module, optimizer: torch.optim.Optimizer, next_step: int) -> None:
    """Writes a checkpoint and reports it to Ray Train; every worker must call it, rank 0 writes.

    Schedules, the order of examples and the noise of draws and dropout are functions of (seed,
    step), so that the step is all that has to be kept of them.

    Args:
        run_uri: Folder or URI of the run.
        module: The step, with the model and the estimator's state in it.
        optimizer: Its optimiser.
        next_step: First step not yet done.

    Raises:
        UserError: on every worker, if it cannot be written.
    """
    # By step, and after those that Ray Train named by the time, which runs had once.
    name = f"{PREFIX}step_{next_step:08d}"
    is_first = ray.train.get_context().get_world_rank() == 0
    mistake = _write(run_uri, name, module, optimizer, next_step) if is_first else None
    # Else the others would wait for rank 0 at the next step.
    mistake = broadcast_from_rank_zero(mistake)
    if mistake:
        raise mistake
    _report(run_uri, name, next_step)


def restore(
    run_uri: str, found: str | None, module: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Loads the last checkpoint of this run, if there is one; every worker must call it.

    Args:
        run_uri: Folder or URI of the run.
        found: Name of the checkpoint that an earlier job left.
        module: As for `save`.
        optimizer: As for `save`.

    Returns:
        The step to go on with.

    Raises:
        UserError: if it cannot be read.
    """
    checkpoint = ray.train.get_checkpoint()
    name = PurePosixPath(checkpoint.path).name if checkpoint else found
    if name is None:
        return 0
    state = load_state(state_uri(run_uri, name))
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    if not checkpoint:
        _report(run_uri, name, state["next_step"])  # Ray Train removes it when others follow
    return state["next_step"]


def model_weights(run_uri: str, checkpoint: ray.train.Checkpoint) -> dict[str, Tensor]:
    """The weights of the model in a checkpoint of a run, on the CPU."""
    module = load_state(state_uri(run_uri, PurePosixPath(checkpoint.path).name))["module"]
    return {
        name.removeprefix("model."): value
        for name, value in module.items()
        if name.startswith("model.")
    }


def state_uri(run_uri: str, name: str) -> str:
    """Where the state of a checkpoint lies."""
    return f"{run_uri}/{name}/{STATE_FILE}"


def _write(
    run_uri: str, name: str, module: nn.Module, optimizer: torch.optim.Optimizer, next_step: int
) -> UserError | None:
    """Writes the state; returns why it cannot be written, and then leaves nothing of it."""
    state = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "next_step": next_step,
    }
    try:
        save_state(state_uri(run_uri, name), state)
    except UserError as error:
        remove_empty_folders(folders_in(run_uri))
        return error
    return None


def _report(run_uri: str, name: str, next_step: int) -> None:
    """Tells Ray Train of a checkpoint that lies where Ray Train keeps this run's."""
    context = ray.train.get_context()
    place = ray.train.Checkpoint(
        resolve(f"{run_uri}/{name}")[1], context.get_storage().storage_filesystem
    )
    ray.train.report(
        {"step": next_step},
        checkpoint=place if context.get_world_rank() == 0 else None,
        checkpoint_dir_name=name,
        checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
    )
