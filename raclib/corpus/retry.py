"""Which failures of an object store pass, and how long they are waited out."""

import errno
from typing import Any

from aiohttp import ClientError
from botocore.exceptions import FlexibleChecksumError, HTTPClientError  # type: ignore[import-untyped]
from fsspec.exceptions import FSTimeoutError
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_random_exponential

from raclib.errors import UserError

# Below the 60 s a fetch waits by default, so that its error can name the cause.
RETRY_S = 50.0
MAX_DAMAGED = 4

_BUSY = {errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT}
_BROKEN = (ConnectionError, TimeoutError, FSTimeoutError, HTTPClientError, ClientError)


class DamagedError(UserError):
    """Bytes are not what was written. They may be right at the source and damaged on the way."""


# The object store's client may find damage before us.
_DAMAGED = (DamagedError, FlexibleChecksumError)


def retrying() -> Retrying:
    """Calls again what fails in passing, after growing, random waits."""
    return Retrying(**_policy())


def async_retrying() -> AsyncRetrying:
    """The same for coroutines."""
    return AsyncRetrying(**_policy())


def is_passing(error: BaseException) -> bool:
    """Whether an error is one of load or of the network, not of the request."""
    if isinstance(error, OSError) and error.errno in _BUSY:
        return True
    return isinstance(error, (*_BROKEN, *_DAMAGED))


def _policy() -> dict[str, Any]:
    return {
        "retry": retry_if_exception(is_passing),
        "wait": wait_random_exponential(multiplier=0.2, max=5),
        "stop": _is_over,
        "reraise": True,
    }


def _is_over(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _DAMAGED):
        return state.attempt_number >= MAX_DAMAGED
    return (state.seconds_since_start or 0) > RETRY_S
