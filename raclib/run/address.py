"""The address of the Ray that a job is told to join, and that Ray Train is told it is on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError

from raclib.errors import UserError

ADDRESS = "RAY_ADDRESS"
# A head that does not answer by then is not there: Ray itself would try for minutes.
REACH_S = 15
REMEDY = f"mend it, or unset {ADDRESS} for a Ray of this job alone"


def reach(address: str) -> str:
    """The address of a head that answers and lets this job in, `HOST:PORT`.

    Raises:
        UserError: if none does.
    """
    try:
        found = canonicalize_bootstrap_address(address)
    except (ValueError, OSError):
        found = None
    if not found or "://" in address:
        raise UserError(
            f"{ADDRESS}: {address} is not HOST:PORT of the head of a Ray that runs; {REMEDY}"
        )
    silent = f"{ADDRESS}: no Ray answers at {address} (waited {REACH_S} s); {REMEDY}"
    refused = (
        f"{ADDRESS}: {address} asks for a token, and this job gives none or another: export "
        f"RAY_AUTH_MODE=token and the token of that Ray; {REMEDY}"
    )
    try:
        with init_grpc_channel(found, GLOBAL_GRPC_OPTIONS) as channel:
            ask = NodeInfoGcsServiceStub(channel).GetClusterId
            ask(GetClusterIdRequest(), timeout=REACH_S, wait_for_ready=True)
    except AuthenticationError:
        raise UserError(refused) from None
    except grpc.RpcError as error:
        is_refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
        raise UserError(refused if is_refused else silent) from None
    return found


@contextmanager
def known_address() -> Iterator[None]:
    """Within it Ray Train's own processes know by name on which cluster they are.

    One of them asks a cluster whether training is still wanted. Left to itself it asks what `ray
    start` began on that machine, and takes its ignorance for a no, or gives up where several run.
    """
    # Here, not above: whoever reads rows imports this module, and few of them train.
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add(ADDRESS)
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        if before is not None:
            os.environ[ADDRESS] = before
