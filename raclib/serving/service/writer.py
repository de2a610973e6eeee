"""The one process that adds to a corpus while it is served."""

import asyncio
import logging
from threading import Lock
from typing import Any, NamedTuple

import ray
from ray.actor import ActorHandle
from xxhash import xxh3_64_hexdigest

from raclib.errors import UserError
from raclib.serving.service.asked import Done, Remember
from raclib.serving.service.config import ServeConfig
from raclib.serving.service.curve import Curve
from raclib.serving.service.gatherer import Gatherer
from raclib.serving.service.ledger import Ledger, Request
from raclib.serving.service.outcomes import Scores

logger = logging.getLogger(__name__)
NAMESPACE = "raclib"
TRIES = 3


class Quality(NamedTuple):
    """How served answers did.

    Attributes:
        num_labels: Answered rows whose label came since.
        last: Scores of each method over the last of them.
        over_time: How many there were by then, and the same scores, oldest first.
    """

    num_labels: int
    last: Scores
    over_time: list[tuple[int, Scores]]


class Writer:
    """An actor: gathers rows and labels into versions, and tells replicas of them.

    It holds nothing that is not on storage, so that it may be killed at any time: what it has not
    answered is asked again, and rows that are there already are not added twice.

    Args:
        uri: The corpus.
        config: How often, and where quality is logged.
    """

    def __init__(self, uri: str, config: ServeConfig) -> None:
        self._uri, self._config = uri, config
        # Opened when it is needed: an actor that fails to start is not started again.
        self._ledger: Ledger | None = None
        self._lock = Lock()
        self._curve = Curve(config, uri)
        self._changed = asyncio.Condition()
        self._tidying: asyncio.Task[None] | None = None
        often = config.writer.seconds, config.writer.rows
        self._commits: Gatherer[Request, Done | UserError] = Gatherer(self._commit, _size, *often)
        self._keeps: Gatherer[Remember, UserError | None] = Gatherer(
            self._keep, _size, 0.0, config.writer.rows
        )

    async def add(self, asked: Request) -> Done | UserError:
        """Takes in rows or labels: the answer comes when a version holds them."""
        return await self._commits.ask(asked)

    async def remember(self, asked: Remember) -> UserError | None:
        """Keeps rows that may get a label: the answer comes when they are on storage."""
        return await self._keeps.ask(asked)

    async def newer(self, version: int, timeout_s: float) -> int:
        """The newest version; waits until it is newer than this, but no longer than so long."""
        ledger = await asyncio.to_thread(self._open)
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while ledger.corpus.version <= version:
                    await self._changed.wait()
                    ledger = self._ledger or ledger
        except TimeoutError:
            pass
        return ledger.corpus.version

    async def quality(self) -> Quality:
        """How served answers did so far."""
        ledger = await asyncio.to_thread(self._open)
        return await asyncio.to_thread(_quality, ledger, self._config.quality.window)

    async def _commit(self, asked: list[Request]) -> list[Done | UserError]:
        try:
            return await asyncio.to_thread(self._commit_now, asked)
        finally:
            await self._tell()
            if self._tidying is None or self._tidying.done():
                self._tidying = asyncio.create_task(self._tidy())

    async def _tell(self) -> None:
        """Wakes those who wait for a newer version."""
        async with self._changed:
            self._changed.notify_all()

    async def _tidy(self) -> None:
        """Merges small shards when there are many."""
        ledger = self._ledger
        if ledger is None or ledger.num_small <= self._config.writer.small_shards:
            return
        try:
            await asyncio.to_thread(ledger.merge)
        except UserError as error:
            logger.error("small shards are not merged: %s", error)
            self._ledger = None
        await self._tell()

    def _commit_now(self, asked: list[Request]) -> list[Done | UserError]:
        for left in reversed(range(TRIES)):
            ledger = self._open()
            try:
                said = ledger.commit(asked)
            except Exception as error:
                # Another writer was first, or the store failed: what it holds is found again.
                self._ledger = None
                if not left or not isinstance(error, UserError):
                    raise
                continue
            self._curve.show(ledger.outcomes)
            return said
        raise AssertionError("the last try returns or raises")

    async def _keep(self, asked: list[Remember]) -> list[UserError | None]:
        ledger = await asyncio.to_thread(self._open)
        return await asyncio.to_thread(ledger.remember, asked)

    def _open(self) -> Ledger:
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self._uri)
                self._curve.show(self._ledger.outcomes)
            return self._ledger


def find_writer(uri: str, config: ServeConfig) -> ActorHandle:
    """The writer of a corpus, on this cluster; it is made if there is none."""
    actor: Any = ray.remote(Writer)
    return actor.options(
        name=_name(uri),
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=-1,
        num_cpus=0,
        max_concurrency=10_000,
    ).remote(uri, config)


def stop_writer(uri: str) -> None:
    """Ends the writer of a corpus, if there is one; nothing that was answered is lost."""
    try:
        writer = ray.get_actor(_name(uri), NAMESPACE)
    except ValueError:
        return
    ray.kill(writer)


def _name(uri: str) -> str:
    return f"writer-{xxh3_64_hexdigest(uri.encode())}"


def _size(asked: Request | Remember) -> int:
    return len(asked.ids)


def _quality(ledger: Ledger, window: int) -> Quality:
    outcomes = ledger.outcomes
    return Quality(outcomes.total, outcomes.last(window), outcomes.over_time(window))
