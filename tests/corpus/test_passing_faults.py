"""What is tried again, whichever library says so."""

import errno
import socket
import ssl
from unittest.mock import Mock

import aiohttp
import pytest
import requests
import urllib3.exceptions as urllib3_errors
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from fsspec.exceptions import FSTimeoutError
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayTaskError
from s3fs.errors import translate_boto_error

from raclib.corpus.faults import DamagedError, is_passing
from raclib.errors import UserError

REQUEST = Mock(real_url="http://store/key")


def answered(status: int, code: str) -> Exception:
    """What s3fs raises for an answer of S3."""
    metadata = {"HTTPStatusCode": status}
    return translate_boto_error(
        ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "GetObject")
    )


def in_task(cause: Exception) -> Exception:
    return RayTaskError("f", "traceback", cause, "f", 1, "127.0.0.1").as_instanceof_cause()


def untrusted() -> Exception:
    """What aiobotocore raises for a certificate that nobody vouches for."""
    try:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLError as error:
            raise boto.SSLError(endpoint_url="https://store", error=error)  # noqa: B904
    except boto.SSLError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        boto.EndpointConnectionError(endpoint_url="http://store"),
        boto.ConnectTimeoutError(endpoint_url="http://store"),
        boto.ReadTimeoutError(endpoint_url="http://store"),
        boto.ProxyConnectionError(proxy_url="http://proxy"),
        boto.SSLError(endpoint_url="https://store", error="closed"),
        boto.ConnectionClosedError(endpoint_url="http://store"),
        boto.ResponseStreamingError(error="closed"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        answered(503, "SlowDown"),
        answered(500, "InternalError"),
        answered(502, "Unheard"),
        answered(429, "TooManyRequests"),
        answered(400, "RequestTimeout"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        aiohttp.ClientResponseError(REQUEST, (), status=504),
        urllib3_errors.ProtocolError("closed"),
        urllib3_errors.NewConnectionError(Mock(), "refused"),
        urllib3_errors.MaxRetryError(Mock(), "/", None),
        requests.ConnectionError(),
        requests.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        requests.HTTPError(response=Mock(status_code=503)),
        FSTimeoutError(),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.EIO, "disk"),
        socket.gaierror(socket.EAI_AGAIN, "no name server"),
        DamagedError("rows"),
        ActorDiedError(),
        in_task(ConnectionResetError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_passes(error):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        answered(403, "AccessDenied"),
        answered(403, "QuotaExceeded"),  # EIO, for what s3fs does not know
        answered(404, "NoSuchBucket"),
        answered(412, "PreconditionFailed"),
        answered(507, "InsufficientStorage"),
        untrusted(),
        boto.NoCredentialsError(),
        aiohttp.ClientResponseError(REQUEST, (), status=404),
        aiohttp.InvalidURL("x"),
        requests.HTTPError(response=Mock(status_code=401)),
        requests.exceptions.InvalidURL(),
        FileNotFoundError(errno.ENOENT, "gone"),
        PermissionError(errno.EACCES, "mine"),
        OSError(errno.ENOSPC, "full"),
        UserError("mistake"),
        ValueError("bug"),
        ActorUnschedulableError("node"),
        in_task(UserError("mistake")),
        in_task(ValueError("bug")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_does_not_pass(error):
    assert not is_passing(error)
