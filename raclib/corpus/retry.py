"""How long failures that pass are waited out."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_random_exponential

from raclib.corpus.faults import DAMAGED, is_passing

# A request that gets no answer is given up and sent again.
REQUEST_S = 15.0
# With the last request below the 60 s a fetch waits by default, so that its error names the cause.
RETRY_S = 40.0
MAX_DAMAGED = 4
# After so long it is said that something is waited for, and again as often as this.
QUIET_S = 5.0
REPEAT_S = 60.0


def retrying(name: str) -> Retrying:
    """Calls again what fails in passing, after growing, random waits.

    Args:
        name: What is waited for; said where it takes long.
    """
    return Retrying(**_policy(name))


def async_retrying(name: str) -> AsyncRetrying:
    """The same for coroutines."""
    return AsyncRetrying(**_policy(name))


def once_in_a_while(seconds: float) -> Callable[[str], None]:
    """Gives a function that prints a line to standard error, and none for so long after it."""
    lock, due = threading.Lock(), [0.0]

    def say(line: str) -> None:
        with lock:
            if time.monotonic() < due[0]:
                return
            due[0] = time.monotonic() + seconds
        print(line, file=sys.stderr, flush=True)

    return say


_say = once_in_a_while(REPEAT_S)


@contextmanager
def said_if_slow(line: str, seconds: float | None = None) -> Iterator[None]:
    """Prints a line to standard error where the block is not over in time, by default `QUIET_S`."""
    after = QUIET_S if seconds is None else seconds
    waiting = threading.Timer(after, print, [line], {"file": sys.stderr, "flush": True})
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


def _policy(name: str) -> dict[str, Any]:
    def tell(state: RetryCallState) -> None:
        if (state.seconds_since_start or 0) > QUIET_S and state.outcome:
            reason = reason_of(state.outcome.exception())
            _say(f"{name}: {reason}; tried again for up to {RETRY_S:.0f} s")

    return {
        "retry": retry_if_exception(is_passing),
        "wait": wait_random_exponential(multiplier=0.2, max=5),
        "stop": _is_over,
        "before_sleep": tell,
        "reraise": True,
    }


def reason_of(error: BaseException | None) -> str:
    """What an error says, on one line; what it is if it says nothing."""
    said = " ".join(str(error).split())
    if said not in ("", "None"):
        return said
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def _is_over(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, DAMAGED):
        return state.attempt_number >= MAX_DAMAGED
    return (state.seconds_since_start or 0) + state.upcoming_sleep > RETRY_S
