"""Calls to servers: answered, failed over to a replica, or given up with a clear error."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from raclib.corpus.faults import kind_of
from raclib.corpus.gather import Array, Positions
from raclib.corpus.routing import Routing
from raclib.errors import PassingError

# Ray notices a killed server after 2 seconds and a silent host after a minute; a replica is asked
# sooner than that.
PATIENCE_S = 0.5
# While `ray.wait` waits for an answer that a silent host has ready, it overlooks others that come.
# So it never waits for longer than this.
POLL_S = 0.05
# For so long a server that did not answer is asked last.
SUSPECT_S = 10.0


class Router:
    """Decides in which order a client asks the servers of a chain.

    Args:
        routing: The servers.
    """

    def __init__(self, routing: Routing) -> None:
        self.routing = routing
        # Clients begin at different replicas, so that all share the load.
        self._offset = random.randrange(routing.replicas)
        self._suspects: dict[int, float] = {}

    def order(self, chain: int) -> list[int]:
        """Numbers of the chain's servers; those that were silent lately come last."""
        attempts = range(self._offset, self._offset + self.routing.replicas)
        numbers = [self.routing.number(chain, attempt) for attempt in attempts]
        now = time.monotonic()
        return sorted(numbers, key=lambda number: self._suspects.get(number, 0.0) > now)

    def suspect(self, number: int) -> None:
        """Notes that a server does not answer."""
        self._suspects[number] = time.monotonic() + SUSPECT_S

    def trust(self, number: int) -> None:
        """Notes that a server answers."""
        self._suspects.pop(number, None)


@dataclass
class Call:
    """Rows asked of one chain of servers.

    Args:
        router: The servers.
        chain: Number of the chain.
        shards: Ids of the shards asked, for errors.
        args: Arguments of `ShardServer.take`.
        where: Positions of the rows in the fetch.
        rows: For each position the row of the answer.
    """

    router: Router
    chain: int
    shards: Sequence[str]
    args: tuple[Any, ...]
    where: Positions
    rows: Array
    refs: dict[ObjectRef, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = self.router.order(self.chain)

    @property
    def can_ask_another(self) -> bool:
        """Whether a replica was not asked yet."""
        return bool(self._order)

    def send(self) -> None:
        """Asks the next server."""
        number = self._order.pop(0)
        self.refs[self.router.routing.servers[number].take.remote(*self.args)] = number

    def hedge(self) -> None:
        """Asks a replica too, if there is one, and notes who keeps us waiting."""
        if self.can_ask_another:
            for number in self.refs.values():
                self.router.suspect(number)
            self.send()

    def failed(self, ref: ObjectRef, error: RayError) -> None:
        """Asks a replica instead, or raises when there is none left and none under way."""
        number = self.refs.pop(ref)
        self.router.suspect(number)
        if self.can_ask_another:
            self.send()
        elif not self.refs:
            cause = error.cause if isinstance(error, RayTaskError) else error
            reason = " ".join(str(cause).split())
            raise kind_of(cause)(self._describe(f"server {number}: {reason}")) from error

    def late(self, timeout: float) -> PassingError:
        """The error for an answer that did not come in time."""
        asked = ", ".join(map(str, self.refs.values()))
        return PassingError(
            self._describe(
                f"server {asked}: no answer in {timeout:.1f} s; it is restarting, or waits for its "
                "store: raise the timeout, add replicas or look at the store"
            )
        )

    def _describe(self, what: str) -> str:
        more = f" and {len(self.shards) - 1} more" if len(self.shards) > 1 else ""
        return f"rows of shard {self.shards[0]}{more} cannot be read: {what}"


def collect(calls: Sequence[Call], timeout: float) -> Iterator[tuple[Call, dict[str, Array]]]:
    """Yields each call with its answer as they come.

    Args:
        calls: Calls that were sent.
        timeout: Seconds after which to give up.

    Raises:
        UserError: if a server fails and no replica answers, or at the end of the time.
    """
    deadline = time.monotonic() + timeout
    waiting, since = list(calls), time.monotonic()
    while waiting:
        by_ref = {ref: call for call in waiting for ref in call.refs}
        left = max(0.0, deadline - time.monotonic())
        ready, _ = ray.wait(list(by_ref), timeout=min(left, POLL_S))
        now = time.monotonic()
        if ready:
            since, call = now, by_ref[ready[0]]
            try:
                answer = ray.get(ready[0])
            except RayError as error:
                call.failed(ready[0], error)
                continue
            call.router.trust(call.refs[ready[0]])
            waiting.remove(call)
            yield call, answer
        elif now >= deadline:
            raise waiting[0].late(timeout)
        elif now - since >= PATIENCE_S:
            since = now
            for call in waiting:
                call.hedge()
