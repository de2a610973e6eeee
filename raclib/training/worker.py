"""What every Ray Train worker does: steps and checkpoints, then its share of the predictions."""

import math
import resource
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed
from torch import nn

from raclib.batch import Batch, Split
from raclib.errors import PassingError
from raclib.metrics import score
from raclib.retrieval.estimators import build_estimator
from raclib.run.cli import find_user_error
from raclib.run.tracking import RunLogger
from raclib.training import checkpoint
from raclib.training.noise import step_noise
from raclib.training.optimizer import ScheduledAdamW
from raclib.training.predict import Predictions, predict
from raclib.training.progress import Bar, progress_bar
from raclib.training.schedules import temperature
from raclib.training.step import PlainStep, RetrievalStep
from raclib.training.stopping import CutShort, Watch
from raclib.training.task import Task, parts
from raclib.training.timer import Timer


@dataclass(frozen=True)
class Assignment:
    """What a worker is told.

    Attributes:
        task: Data and model.
        with_context: False for the classifier that retrieves nothing.
        logger: Where rank 0 logs.
        stop_flag: Actor that says when to stop early; see `stopping`.
        terminal: Whether someone looks at what the job writes.
        run_uri: Folder or URI for checkpoints.
        found: Name of the checkpoint that an earlier job left.
    """

    task: Task
    with_context: bool
    logger: RunLogger
    stop_flag: Any
    terminal: bool
    run_uri: str
    found: str | None


def run_worker(assignment: Assignment) -> dict:
    """Trains, then predicts the test examples; Ray Train hands back what rank 0 returns.

    A user's mistake is returned, not raised, wherever it was met: Ray Train would restart the
    workers to meet it again. A fault of a store is raised, so that it does.
    """
    try:
        worker = Worker(assignment)
        cut_short = worker.train()
        return {"cut_short": cut_short} if cut_short else worker.predict("test")._asdict()
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is None or isinstance(mistake, PassingError):
            raise
        return {"error": str(mistake)}


class Worker:
    """One of the workers that share every batch."""

    def __init__(self, assignment: Assignment) -> None:
        self.task, self.logger = assignment.task, assignment.logger
        self.with_context, self.terminal = assignment.with_context, assignment.terminal
        self.run_uri, self.found = assignment.run_uri, assignment.found
        self.rank = ray.train.get_context().get_world_rank()
        self.num_workers = ray.train.get_context().get_world_size()
        self.device = ray.train.torch.get_device()
        self.watch = Watch(assignment.stop_flag, self.num_workers, self.device)
        self.timer = Timer()
        config = self.task.config
        torch.manual_seed(config.seed)
        self.model = self.task.build_model(self.with_context).to(self.device)
        self.changes = self.task.changes if self.with_context else None
        self.step_module = self._build_step().to(self.device)
        self.module = ray.train.torch.prepare_model(self.step_module)
        self.optimizer = ScheduledAdamW(self.model, config.train, self.task.num_steps)

    def train(self) -> CutShort | None:
        """Does the steps that are not yet done; returns why not all, if a checkpoint of the last
        one was written before."""
        config = self.task.config.train
        state = self.step_module, self.optimizer.adamw
        start = checkpoint.restore(self.run_uri, self.found, *state)
        batches = self.task.stream(start, self.rank, self.num_workers, self.device)
        bar = self._progress_bar(self.task.num_steps, "", "step")
        bar.update(start)
        for step, batch in enumerate(batches, start):
            metrics = self._step(step, batch)
            done, is_last = step + 1, step + 1 == self.task.num_steps
            bar.update(1)
            if done % config.log_every == 0 or is_last:
                found = self._diagnostics(metrics["temperature"])
                self.logger.log({**metrics, **found}, done, self.rank)
            if done % config.checkpoint_every == 0 or is_last:
                self.logger.log(self._validate(), done, self.rank)
                checkpoint.save(self.run_uri, *state, done)
            elif cut_short := self.watch.look():
                checkpoint.save(self.run_uri, *state, done)
                return cut_short
        bar.close()
        return None

    def predict(self, split: Split) -> Predictions:
        """Predicts every example of a split by greedy retrieval.

        Every worker predicts its share and gets the whole.
        """
        history = self.task.history(split, self.device) if self.with_context else None
        rows = parts(self.task, split)
        bar = self._progress_bar(sum(map(len, rows)), f"{split}, ", " examples")
        found = []
        for number, part in enumerate(rows):
            # The shares of the others stay zero, so that their sum is the whole.
            # The last column is the label, which float32 holds exactly.
            mine_NX = torch.zeros(len(part), self.task.num_classes + 1, device=self.device)
            if number % self.num_workers == self.rank:
                batch = self.task.load(split, part, self.device)
                mine_NX[:, :-1] = predict(self.model, history, batch, self.task.config.retrieval)
                mine_NX[:, -1] = batch["label"]
            found.append(mine_NX)
            bar.update(len(part))
        bar.close()
        found_NX = torch.cat(found)
        if self.num_workers > 1:
            torch.distributed.all_reduce(found_NX)
        found_NX = found_NX.cpu()
        return Predictions(found_NX[:, :-1].numpy(), found_NX[:, -1].long().numpy())

    def _build_step(self) -> nn.Module:
        if not self.with_context:
            return PlainStep(self.model)
        retrieval = self.task.config.retrieval
        estimator = build_estimator(retrieval.estimator, retrieval.num_sets)
        history = self.task.history("train", self.device)
        return RetrievalStep(self.model, history, estimator, retrieval, self.timer, self.changes)

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
            self.changes.num_uniforms if self.changes else 0,
        ).to(self.device)
        progress = step / max(1, self.task.num_steps - 1)
        self.module.train()
        with self.timer("forward"):
            loss, metrics = self.module(
                batch, noise, temperature(progress, config.retrieval), progress
            )
        with self.timer("backward"):
            metrics |= self.optimizer.step(loss, step)
        return {**metrics, "temperature": temperature(progress, config.retrieval)}

    def _diagnostics(self, temperature: float) -> dict[str, float]:
        on_gpu = self.device.type == "cuda"
        peak = (
            torch.cuda.max_memory_allocated(self.device)
            if on_gpu
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        found = self.task.diagnostics(self.model, temperature, self.device)
        return {**found, **self.timer.reset(), "peak_memory_bytes": peak}

    def _validate(self) -> dict[str, float]:
        with self.timer("validate"):
            found = self.predict("validation")
        scores = score(found.label, found.probability)
        return {f"validation/{n}": value for n, value in scores.items() if not math.isnan(value)}

    def _progress_bar(self, total: int, what: str, unit: str) -> Bar:
        name = f"{self.logger.name}, {what}worker {self.rank}"
        return progress_bar(total, name, unit, self.rank, self.terminal, brief=bool(what))
