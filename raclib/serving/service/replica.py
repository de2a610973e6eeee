"""A process that answers: it holds the keys, and follows the versions of the corpus."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
from fastapi import FastAPI
from ray.exceptions import RayError

from raclib.errors import UserError
from raclib.run.cli import configure
from raclib.run.tracking import using
from raclib.serving.answers import Answers
from raclib.serving.find_model import find_model
from raclib.serving.open_predictor import open_predictor
from raclib.serving.predictor import Evidence
from raclib.serving.service.asked import Done, Remember
from raclib.serving.service.config import ServeConfig
from raclib.serving.service.ledger import Request
from raclib.serving.service.rivals import rival_answers
from raclib.serving.service.writer import Quality, find_writer
from raclib.serving.table_predictor import TablePredictor
from raclib.tasks.table.config import TableConfig

POLL_S = 20.0
PAUSE_S = 0.5
logger = logging.getLogger(__name__)
Found = TypeVar("Found")


class Replica:
    """Answers by the newest version of the corpus that it knows.

    Args:
        config: Of the service.

    Raises:
        UserError: if there is no such run, or it is not of a table.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        with using(config.tracking.uri):
            self.predictor = open_table(config.run)
        self._uri = self.predictor.corpus.uri
        self._writer = find_writer(self._uri, config)
        # One after the other: an answer takes all threads that the process has.
        self._thread = ThreadPoolExecutor(1, "answers")
        Thread(target=self._follow, name="follow", daemon=True).start()

    def __serve_build_asgi_app__(self) -> FastAPI:  # Serve asks for it
        """What answers HTTP."""
        from raclib.serving.service.app import build_app

        return build_app(self)

    async def explain(self, rows: pa.Table, count: int) -> tuple[Answers, Evidence]:
        """Answers to rows, with rows of the corpus that decided each and what these are."""
        return await self._do(partial(self._explain, rows, count))

    async def rivals(self, rows: pa.Table) -> np.ndarray:
        """What `outcomes.METHODS` but the first two would have answered, `[N, 2, C]`."""
        what = self.predictor.memory, rows, self.config.quality
        return await self._do(partial(rival_answers, *what))

    async def add(self, asked: Request) -> Done:
        """Adds rows or labels to the corpus.

        Raises:
            UserError: for what is wrong with them.
            RayError: if the writer does not answer, or cannot reach the storage.
        """
        return _raise(await self._writer.add.remote(asked))

    async def remember(self, asked: Remember) -> None:
        """Keeps rows that may get a label; raises as `add`."""
        _raise(await self._writer.remember.remote(asked))

    async def quality(self) -> Quality:
        """How served answers did; raises RayError if the writer does not answer."""
        return await self._writer.quality.remote()

    async def _do(self, work: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _explain(self, rows: pa.Table, count: int) -> tuple[Answers, Evidence]:
        answers = self.predictor.explain(rows, count)
        return answers, self.predictor.describe(answers.rows_NE)

    def _follow(self) -> None:
        """Takes in each version as soon as it is there."""
        while True:
            try:
                version = self.predictor.corpus.version
                newest: Any = ray.get(self._writer.newer.remote(version, POLL_S))
                if newest > version:
                    self.predictor.refresh(newest)
            except (RayError, UserError) as error:
                logger.error("the writer does not answer: %s", type(error).__name__)
                time.sleep(PAUSE_S)
                self._writer = find_writer(self._uri, self.config)


def corpus_of(config: ServeConfig) -> str:
    """The URI of the corpus of a run on a table; raises UserError if there is no such run."""
    with using(config.tracking.uri):
        model = find_model(config.run)
    if model.is_of_reviews:
        raise _of_reviews(config.run)
    return configure(TableConfig, model.settings).corpus_uri


def open_table(run: str) -> TablePredictor:
    """The model of a run on a table; raises UserError if there is none."""
    predictor = open_predictor(run)
    if not isinstance(predictor, TablePredictor):
        raise _of_reviews(run)
    return predictor


def _of_reviews(run: str) -> UserError:
    return UserError(f"run: {run}: was trained on reviews; give a run of train_table.py")


def _raise(said: Any) -> Any:
    if isinstance(said, UserError):
        raise said
    return said
