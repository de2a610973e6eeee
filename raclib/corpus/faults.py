"""What goes wrong with stores, servers and disks, and which of it passes.

One table for every library through which they are reached.
"""

import errno
import http.client
import socket
import ssl

import aiohttp
import requests
import urllib3.exceptions as urllib3_errors
from botocore import exceptions as boto  # type: ignore[import-untyped]
from fsspec.exceptions import FSTimeoutError
from ray import exceptions as ray_errors

from raclib.errors import PassingError, UserError


class DamagedError(UserError):
    """Bytes are not what was written. They may be right at the source and damaged on the way."""


class MissingError(UserError):
    """A file is not there."""


class FullError(UserError):
    """A disk has no room."""


# What the libraries raise for a store; nothing of it is a bug of ours.
STORE_ERRORS = (
    OSError,
    boto.BotoCoreError,
    boto.ClientError,
    aiohttp.ClientError,
    urllib3_errors.HTTPError,
    http.client.HTTPException,
)

# The object store's client may find damage before us.
DAMAGED = (DamagedError, boto.FlexibleChecksumError)

# No connection, a broken one or no answer.
_BROKEN = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    http.client.HTTPException,
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3_errors.ProtocolError,
    urllib3_errors.TimeoutError,
    urllib3_errors.MaxRetryError,
    urllib3_errors.PoolError,
    FSTimeoutError,
    ray_errors.RayActorError,
    ray_errors.WorkerCrashedError,
    ray_errors.NodeDiedError,
    ray_errors.LocalRayletDiedError,
    ray_errors.ObjectLostError,
    ray_errors.OutOfMemoryError,
    ray_errors.RpcError,
    ray_errors.GetTimeoutError,
)
_BUSY = {errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT}
_BUSY |= {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}

# Answers of HTTP, and of S3 where its status says another thing.
_BUSY_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_BUSY_CODES = {"RequestTimeout", "RequestTimeoutException", "SlowDown", "ThrottlingException"}


def is_passing(error: BaseException) -> bool:
    """Whether an error is one of load or of the network, not of the request."""
    cause = getattr(error, "cause", None)
    if isinstance(error, ray_errors.RayTaskError) and isinstance(cause, BaseException):
        return is_passing(cause)
    if isinstance(error, DAMAGED):
        return True
    if _is_certificate(error):
        return False
    answered = _answer(error)
    if answered is not None:
        return answered[0] in _BUSY_STATUS or answered[1] in _BUSY_CODES
    return isinstance(error, _BROKEN) or (isinstance(error, OSError) and error.errno in _BUSY)


def kind_of(error: BaseException) -> type[UserError]:
    """What to raise for an error that was waited out in vain, so that its nature is kept."""
    if isinstance(error, DAMAGED):
        return UserError
    return PassingError if isinstance(error, PassingError) or is_passing(error) else UserError


def refusal(error: BaseException) -> str | None:
    """The name that S3 gives to its refusal, such as AccessDenied; None if there is none."""
    answered = _answer(error)
    return answered[1] if answered else None


def _answer(error: BaseException) -> tuple[int | None, str | None] | None:
    """Status and code of the answer behind an error; None where none came."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, boto.ClientError):
            code = one.response.get("Error", {}).get("Code")
            return one.response.get("ResponseMetadata", {}).get("HTTPStatusCode"), code
        if isinstance(one, aiohttp.ClientResponseError):
            return one.status, None
        if isinstance(one, requests.HTTPError) and one.response is not None:
            return one.response.status_code, None
        one = one.__cause__
    return None


def _is_certificate(error: BaseException) -> bool:
    """Whether the other side is not who it should be; that does not pass."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, ssl.SSLCertVerificationError):
            return True
        one = one.__cause__ or one.__context__
    return False
