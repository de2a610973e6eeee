"""Calls to servers: answered, failed over to a replica, or given up with a clear error."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from raclib.corpus.column import Array
from raclib.corpus.routing import Routing
from raclib.errors import UserError

# Ray notices a killed server after 2 seconds and a silent host after a minute; a replica is asked
# sooner than that.
PATIENCE_S = 0.5


@dataclass
class Call:
    """Rows asked of one chain of servers.

    Args:
        routing: The servers.
        chain: Number of the chain.
        shards: Ids of the shards asked, for errors.
        args: Arguments of `ShardServer.take`.
        where: Positions of the rows in the fetch.
        rows: For each position the row of the answer.
    """

    routing: Routing
    chain: int
    shards: Sequence[str]
    args: tuple[Any, ...]
    where: Array
    rows: Array
    attempts: int = 0
    refs: dict[ObjectRef, int] = field(default_factory=dict)

    @property
    def can_ask_another(self) -> bool:
        """Whether a replica was not asked yet."""
        return self.attempts < self.routing.replicas

    def send(self) -> None:
        """Asks the next server of the chain."""
        number = self.routing.number(self.chain, self.attempts)
        self.attempts += 1
        self.refs[self.routing.servers[number].take.remote(*self.args)] = number

    def failed(self, ref: ObjectRef, error: RayError) -> None:
        """Asks a replica instead, or raises when there is none left and none under way."""
        number = self.refs.pop(ref)
        if self.can_ask_another:
            self.send()
        elif not self.refs:
            cause = error.cause if isinstance(error, RayTaskError) else error
            raise UserError(self._describe(f"server {number}: {_one_line(cause)}")) from error

    def late(self, timeout: float) -> UserError:
        """The error for an answer that did not come in time."""
        asked = ", ".join(map(str, self.refs.values()))
        return UserError(
            self._describe(
                f"server {asked}: no answer in {timeout:.1f} s; it may be restarting: raise the "
                "timeout or add replicas"
            )
        )

    def _describe(self, what: str) -> str:
        more = f" and {len(self.shards) - 1} more" if len(self.shards) > 1 else ""
        return f"rows of shard {self.shards[0]}{more} cannot be read: {what}"


def collect(calls: Sequence[Call], deadline: float) -> Iterator[tuple[Call, dict[str, Array]]]:
    """Yields each call with its answer as they come.

    Args:
        calls: Calls that were sent.
        deadline: `time.monotonic()` at which to give up.

    Raises:
        UserError: if a server fails and no replica answers, or at the deadline.
    """
    began = time.monotonic()
    waiting = list(calls)
    while waiting:
        by_ref = {ref: call for call in waiting for ref in call.refs}
        left = deadline - time.monotonic()
        patience = min(left, PATIENCE_S) if any(c.can_ask_another for c in waiting) else left
        ready, _ = ray.wait(list(by_ref), timeout=max(patience, 0))
        if not ready:
            if time.monotonic() >= deadline:
                raise waiting[0].late(deadline - began)
            for call in waiting:
                if call.can_ask_another:
                    call.send()
            continue
        call = by_ref[ready[0]]
        try:
            answer = ray.get(ready[0])
        except RayError as error:
            call.failed(ready[0], error)
            continue
        waiting.remove(call)
        yield call, answer


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
