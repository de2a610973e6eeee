"""What every Ray Train worker does: steps and checkpoints, then its share of the predictions."""

import resource
from dataclasses import dataclass

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.experimental import tqdm_ray
from torch import nn

from raclib.batch import Batch, to_tensors
from raclib.errors import UserError
from raclib.evaluation.metrics import score
from raclib.evaluation.predict import predict
from raclib.retrieval.estimators import build_estimator
from raclib.tracking import RunLogger
from raclib.training import checkpoint
from raclib.training.examples import Order, stream_examples
from raclib.training.noise import step_noise
from raclib.training.optimizer import ScheduledAdamW
from raclib.training.schedules import temperature
from raclib.training.step import PlainStep, RetrievalStep
from raclib.training.task import Split, Task
from raclib.training.timer import Timer


@dataclass(frozen=True)
class Assignment:
    """What a worker is told.

    Attributes:
        task: Data and model.
        with_context: False for the classifier that retrieves nothing.
        logger: Where rank 0 logs.
    """

    task: Task
    with_context: bool
    logger: RunLogger


def run_worker(assignment: Assignment) -> dict:
    """Trains, then predicts the test examples; Ray Train hands back what rank 0 returns.

    A user's mistake is returned, not raised: Ray Train would restart the workers to meet it again.
    """
    try:
        worker = Worker(assignment)
        worker.train()
        return {"test": worker.predict("test")}
    except UserError as error:
        return {"error": str(error)}


class Worker:
    """One of the workers that share every batch."""

    def __init__(self, assignment: Assignment) -> None:
        self.task, self.logger = assignment.task, assignment.logger
        self.with_context = assignment.with_context
        self.rank = ray.train.get_context().get_world_rank()
        self.num_workers = ray.train.get_context().get_world_size()
        self.device = ray.train.torch.get_device()
        self.timer = Timer()
        config = self.task.config
        self.order = Order(
            self.task.examples("train"),
            config.train.batch_size,
            config.train.num_epochs,
            config.seed,
        )
        torch.manual_seed(config.seed)
        self.model = self.task.build_model(self.with_context).to(self.device)
        self.step_module = self._build_step().to(self.device)
        self.module = ray.train.torch.prepare_model(self.step_module)
        self.optimizer = ScheduledAdamW(self.model, config.train, self.order.num_steps)

    def train(self) -> None:
        """Does the steps that are not yet done."""
        config = self.task.config.train
        start = checkpoint.restore(self.step_module, self.optimizer.adamw)
        batches = stream_examples(self.order, self.task.read, start, self.rank, self.num_workers)
        bar = self._progress_bar(self.order.num_steps, "", "step")
        bar.update(start)
        for step, arrays in enumerate(batches, start):
            metrics = self._step(step, to_tensors(arrays, self.device))
            done, is_last = step + 1, step + 1 == self.order.num_steps
            bar.update(1)
            if done % config.log_every == 0 or is_last:
                self.logger.log({**metrics, **self._diagnostics()}, done, self.rank)
            if done % config.checkpoint_every == 0 or is_last:
                self.logger.log(self._validate(), done, self.rank)
                checkpoint.save(self.step_module, self.optimizer.adamw, done)
        bar.close()

    def predict(self, split: Split) -> np.ndarray:
        """Probability of label 1 for every example of a split, float32, by greedy retrieval.

        Every worker predicts its share and gets the whole.
        """
        rows = self.task.examples(split)
        history = self.task.history(split, self.device) if self.with_context else None
        mine = slice(self.rank, None, self.num_workers)
        bar = self._progress_bar(len(rows[mine]), f"{split}, ", " examples")
        probabilities_N = torch.zeros(len(rows), device=self.device)
        probabilities_N[mine] = predict(
            self.model, history, self.task, rows[mine], self.device, bar.update
        )
        bar.close()
        if self.num_workers > 1:
            torch.distributed.all_reduce(probabilities_N)
        return probabilities_N.cpu().numpy()

    def _build_step(self) -> nn.Module:
        if not self.with_context:
            return PlainStep(self.model)
        retrieval = self.task.config.retrieval
        estimator = build_estimator(retrieval.estimator, retrieval.num_sets)
        history = self.task.history("train", self.device)
        return RetrievalStep(self.model, history, estimator, retrieval, self.timer)

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        config = self.task.config
        local = config.train.batch_size // self.num_workers
        noise = step_noise(
            config.seed,
            step,
            slice(self.rank * local, (self.rank + 1) * local),
            config.train.batch_size,
            config.retrieval.num_sets,
            config.retrieval.num_draws,
        ).to(self.device)
        progress = step / max(1, self.order.num_steps - 1)
        self.module.train()
        with self.timer("forward"):
            loss, metrics = self.module(
                batch, noise, temperature(progress, config.retrieval), progress
            )
        with self.timer("backward"):
            metrics |= self.optimizer.step(loss, step)
        return {**metrics, "temperature": temperature(progress, config.retrieval)}

    def _diagnostics(self) -> dict[str, float]:
        on_gpu = self.device.type == "cuda"
        peak = (
            torch.cuda.max_memory_allocated(self.device)
            if on_gpu
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        found = self.task.diagnostics(self.model)
        return {**found, **self.timer.reset(), "peak_memory_bytes": peak}

    def _validate(self) -> dict[str, float]:
        rows = self.task.examples("validation")
        with self.timer("validate"):
            probabilities_N = self.predict("validation")
        scores = score(self.task.read(rows)["label"], probabilities_N)
        return {f"validation/{name}": float(value) for name, value in scores.items()}

    def _progress_bar(self, total: int, what: str, unit: str) -> tqdm_ray.tqdm:
        name = f"{self.logger.name}, {what}worker {self.rank}"
        return tqdm_ray.tqdm(total=total, desc=name, unit=unit, position=self.rank)
