"""Requests that come while others are worked on are worked on together."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Said = TypeVar("Said")


class Gatherer(Generic[Asked, Said]):
    """Gathers requests; of one event loop.

    Args:
        work: Answers the first of some requests, one or more; the others come again.
        size: The rows of a request.
        seconds: Least time between the beginnings of two works ...
        rows: ... unless so many rows wait; about as many are given to one work.
    """

    def __init__(
        self,
        work: Callable[[list[Asked]], Awaitable[Sequence[Said]]],
        size: Callable[[Asked], int],
        seconds: float,
        rows: int,
    ) -> None:
        self._work, self._size, self._seconds, self._rows = work, size, seconds, rows
        self._waiting: deque[tuple[Asked, asyncio.Future[Said]]] = deque()
        self._num_rows, self._begun = 0, -seconds
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Said:
        """Its answer, when its turn has come; raises what the work raises."""
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        self._count(self._size(asked))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            await self._pause()
            self._begun = time.monotonic()
            batch = self._take()
            try:
                said = await self._work([asked for asked, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), one in zip(batch, said, strict=False):
                if not answer.done():
                    answer.set_result(one)
            for asked, answer in reversed(batch[len(said) :]):
                self._waiting.appendleft((asked, answer))
                self._count(self._size(asked))

    async def _pause(self) -> None:
        left = self._begun + self._seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._full.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[tuple[Asked, "asyncio.Future[Said]"]]:
        batch, num_rows = [], 0
        while self._waiting and num_rows < self._rows:
            batch.append(self._waiting.popleft())
            num_rows += self._size(batch[-1][0])
        self._count(-num_rows)
        return batch

    def _count(self, num_rows: int) -> None:
        self._num_rows += num_rows
        (self._full.set if self._num_rows >= self._rows else self._full.clear)()
