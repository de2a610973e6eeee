"""Starts the Ray Train workers and waits for what they predict."""

import os
import sys

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raclib.errors import UserError
from raclib.run.address import known_address
from raclib.run.arrow_storage import arrow_storage
from raclib.run.config import RunSettings
from raclib.run.tracking import RunLogger
from raclib.training.checkpoint import model_weights
from raclib.training.fitted import Fitted, find_fitted
from raclib.training.leftovers import last_checkpoint
from raclib.training.predict import Predictions
from raclib.training.progress import has_terminal
from raclib.training.stopping import raised_by_sigterm, start_flag
from raclib.training.task import Task
from raclib.training.worker import Assignment

# A worker that waits this long for a peer takes it for dead, and training restarts.
PEER_TIMEOUT_S = 120
# Ray counts nodes every 20 seconds: until then it looks for the places of one that was lost.
PLACES_TIMEOUT_S = 20


def fit(task: Task, config: RunSettings, with_context: bool, logger: RunLogger) -> Fitted:
    """Trains a model, or continues its training, and predicts the test examples.

    What has ended is not done again.

    Args:
        task: Data and model; sent to every worker.
        config: Workers, storage, failures.
        with_context: False for the classifier that retrieves nothing.
        logger: Where rank 0 logs.

    Raises:
        UserError: for impossible settings, and for what workers found wrong.
        SystemExit: after SIGTERM, when the last checkpoint is written.
    """
    run_name = f"{config.name}/{logger.name}"
    run_uri = f"{config.storage_path}/{run_name}"
    if found := find_fitted(run_uri):
        return found
    check_workers(config)
    if config.min_workers is not None:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(PLACES_TIMEOUT_S))
    last = last_checkpoint(run_uri)
    flag = start_flag()
    told = Assignment(task, with_context, logger, flag, has_terminal(), run_uri, last)
    # By reference: it does not pass through Ray Train's controller, and a node gets it once.
    assignment = ray.put(told)
    filesystem, path = arrow_storage(config.storage_path)

    def work() -> dict:
        # Imported only where it runs: the controller holds this function too, and starts sooner.
        from raclib.training.worker import run_worker

        return run_worker(ray.get(assignment))

    trainer = TorchTrainer(
        work,  # type: ignore[arg-type]
        scaling_config=ScalingConfig(
            num_workers=num_workers(config),  # type: ignore[arg-type]  # Ray's type lacks the pair
            use_gpu=uses_gpu(config),
        ),
        run_config=RunConfig(
            name=run_name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        torch_config=TorchConfig(timeout_s=PEER_TIMEOUT_S),
    )
    with known_address(), raised_by_sigterm(flag) as came:
        result = trainer.fit()
        while not came and result.return_value.get("cut_short") == "moved":  # type: ignore[attr-defined]
            print(f"{logger.name}: a host is going; training moves to others", file=sys.stderr)
            result = trainer.fit()
    if came:
        print(f"{logger.name}: stopped; the same command continues it", file=sys.stderr)
        raise SystemExit(128 + came[0])
    outcome = result.return_value  # type: ignore[attr-defined]
    if "error" in outcome:
        raise UserError(outcome["error"])
    assert result.checkpoint is not None
    fitted = Fitted(Predictions(**outcome), model_weights(run_uri, result.checkpoint))
    fitted.save(run_uri)
    return fitted


def uses_gpu(config: RunSettings) -> bool:
    """Whether workers get a GPU each: as told, else if the cluster has enough of them."""
    if config.use_gpu is not None:
        return config.use_gpu
    return ray.cluster_resources().get("GPU", 0) >= config.num_workers


def num_workers(config: RunSettings) -> int | tuple[int, int]:
    """How many workers Ray Train may run: a number, or the fewest and the most."""
    if config.min_workers is None:
        return config.num_workers
    return config.min_workers, config.num_workers


def check_workers(config: RunSettings) -> None:
    """Refuses a batch that cannot be shared, and a cluster that would wait for ever."""
    size, num = config.train.batch_size, config.min_workers or config.num_workers
    for shares in range(num, config.num_workers + 1):
        if size % shares:
            raise UserError(
                f"train.batch_size: {size} must be a multiple of {shares}, a number of workers "
                "that may share it; change it, num_workers or min_workers"
            )
    num_cores = ray.cluster_resources().get("CPU", 0)
    if num_cores <= num:
        raise UserError(
            f"num_workers: {num} workers need {num + 1} cores, one of them to read data; the "
            f"cluster has {num_cores:.0f}; ask for fewer workers or join a larger cluster"
        )
