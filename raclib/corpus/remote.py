"""Many byte ranges of a remote file at once: adaptive concurrency, retries, checked answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fsspec import AbstractFileSystem
from fsspec.asyn import get_loop, sync
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from raclib.corpus import files
from raclib.corpus.faults import DamagedError, is_passing
from raclib.corpus.retry import REQUEST_S, async_retrying

Range = tuple[int, int]
Check = Callable[[int, bytes], None]

FIRST_CONCURRENCY = 32.0
MAX_CONCURRENCY = 256.0


class Gate:
    """Lets as many requests through at a time as the store bears.

    Additive increase, multiplicative decrease (Chiu and Jain 1989): each answer raises the limit a
    little, a refusal halves it. For coroutines of one event loop.
    """

    def __init__(self) -> None:
        self.limit = FIRST_CONCURRENCY
        self._running = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Waits for a place, and learns from how the request ends."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._running < max(1, int(self.limit)))
            self._running += 1
        try:
            yield
            self.limit = min(MAX_CONCURRENCY, self.limit + 1 / self.limit)
        except Exception as error:
            if is_passing(error) and not isinstance(error, DamagedError):
                self.limit = max(1.0, self.limit / 2)
            raise
        finally:
            async with self._changed:
                self._running -= 1
                self._changed.notify_all()


class RangeReader:
    """Reads byte ranges of files of any file system; one for a process, for several threads."""

    def __init__(self) -> None:
        self._gate = Gate()

    def read(self, uri: str, ranges: Sequence[Range], check: Check | None = None) -> list[bytes]:
        """The bytes `[lo, hi)` of each range, in order.

        Args:
            uri: The file.
            ranges: Any number of ranges.
            check: Called with the number of a range and its bytes; raises DamagedError where they
                are not what was written, and they are asked for again.

        Raises:
            UserError: if the file is missing, access is denied, or a range cannot be read in spite
                of retries.
        """
        fs, path = files.resolve_once(uri)
        if not fs.async_impl:
            fs = AsyncFileSystemWrapper(fs)
        with files.clear_errors(uri):
            return sync(get_loop(), self._read_all, fs, path, ranges, check)

    async def _read_all(
        self, fs: AbstractFileSystem, path: str, ranges: Sequence[Range], check: Check | None
    ) -> list[bytes]:
        def check_one(number: int, data: bytes) -> None:
            if check:
                check(number, data)

        tasks = [
            asyncio.create_task(self._read_one(fs, path, piece, partial(check_one, number)))
            for number, piece in enumerate(ranges)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            # After a failure the others are of no use.
            for task in tasks:
                task.cancel()

    async def _read_one(
        self, fs: AbstractFileSystem, path: str, piece: Range, check: Callable[[bytes], None]
    ) -> bytes:
        async for attempt in async_retrying(path):
            with attempt:
                async with self._gate.passing():
                    request = fs._cat_file(path, start=piece[0], end=piece[1])
                    data = await asyncio.wait_for(request, REQUEST_S)
                    if len(data) != piece[1] - piece[0]:
                        # A broken connection raises; this answer is complete.
                        raise DamagedError(
                            f"{path}: truncated shard: {len(data)} bytes came of {list(piece)}; "
                            "restore the file"
                        )
                check(data)
        return data
