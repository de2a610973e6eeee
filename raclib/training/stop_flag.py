"""Says when to stop; apart from `stopping`, so that its process starts without torch."""

import asyncio


class StopFlag:
    """Whether training is to stop; a Ray actor beside the job's driver."""

    def __init__(self) -> None:
        self._raised = asyncio.Event()

    async def raise_it(self) -> None:
        """Asks everyone who waits to stop."""
        self._raised.set()

    async def wait(self) -> None:
        """Returns once training is to stop."""
        await self._raised.wait()
