"""Starts and stops the actors that serve a corpus."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raclib.corpus.client import CorpusClient
from raclib.corpus.corpus import Corpus, open_corpus
from raclib.corpus.faults import kind_of
from raclib.corpus.mounts import Mount, choose_mount
from raclib.corpus.routing import Routing, spread
from raclib.corpus.server import ShardServer
from raclib.errors import UserError

# Calls a server works on at a time: while one waits for an object store others go on.
MAX_CONCURRENCY = 4


class CorpusStore:
    """The servers of a corpus; made by `start`, ended by `stop` or a `with` block.

    Args:
        corpus: What is served.
        routing: Which server has which shard.
        mount: How they get at files.
    """

    def __init__(self, corpus: Corpus, routing: Routing, mount: Mount) -> None:
        self.corpus, self.routing, self.mount = corpus, routing, mount

    @classmethod
    def start(
        cls,
        corpus: Corpus,
        num_servers: int | None = None,
        replicas: int = 1,
        mount: str = "auto",
        cache_dir: str | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Starts the servers and waits until every shard is mounted.

        Args:
            corpus: What to serve.
            num_servers: Actors; by default one a node.
            replicas: Servers that hold each shard.
            mount: `mmap` (the corpus is on a path every node sees), `hydrate` (each node copies its
                shards to its own storage, once), `range` (wide rows are read where they lie when
                they are asked for) or `auto`.
            cache_dir: Folder on each node for copies and blocks; see `Mount`.
            cache_bytes: Node storage they may take; see `Mount`.

        Raises:
            UserError: if an argument is out of range, or a shard is missing or damaged.
        """
        if not ray.is_initialized():
            raise UserError("no Ray cluster: call ray.init() before CorpusStore.start")
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        num_servers = len(nodes) if num_servers is None else num_servers
        if num_servers < 1:
            raise UserError(f"num_servers: {num_servers}; must be at least 1")
        if not 1 <= replicas <= num_servers:
            raise UserError(
                f"replicas: {replicas}; with {num_servers} servers 1 to {num_servers} are possible"
            )
        chosen = choose_mount(corpus, mount, cache_dir, cache_bytes)
        chains = spread(corpus.shards, num_servers)
        held = [
            _held(corpus, chains, number, num_servers, replicas) for number in range(num_servers)
        ]
        servers = tuple(
            _start_server(corpus, ids, chosen, nodes[number % len(nodes)])
            for number, ids in enumerate(held)
        )
        store = cls(corpus, Routing(servers, chains, replicas), chosen)
        try:
            store._wait(server.mount.remote() for server in servers)
        except BaseException:
            store.stop()
            raise
        return store

    def client(self, local: bool = True, cache_bytes: int = 0) -> CorpusClient:
        """A client for any Ray worker; small and picklable.

        Args:
            local: Read shards that are on the client's machine without a call.
            cache_bytes: Memory for rows that servers sent, where they may be asked for again.
        """
        return CorpusClient(self.corpus, self.routing, self.mount, local, cache_bytes)

    def refresh(self) -> bool:
        """Serves the newest version, if there is a newer one; returns whether.

        Clients made from now on read it; those made before go on reading their own version.

        Raises:
            UserError: if a new shard is missing or damaged; the old version is then served on.
        """
        corpus = open_corpus(self.corpus.uri)
        if corpus.version <= self.corpus.version:
            return False
        old = {s.id: c for s, c in zip(self.corpus.shards, self.routing.chains, strict=True)}
        servers, replicas = self.routing.servers, self.routing.replicas
        chains = spread(corpus.shards, len(servers), old)
        self._wait(
            server.mount.remote(
                corpus.version, _held(corpus, chains, number, len(servers), replicas)
            )
            for number, server in enumerate(servers)
        )
        self.corpus, self.routing = corpus, Routing(servers, chains, replicas)
        return True

    def stop(self) -> None:
        """Ends every server. Copies on node storage stay for later jobs."""
        for server in self.routing.servers:
            ray.kill(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait(self, mounting: Iterable[ObjectRef]) -> None:
        try:
            ray.get(list(mounting))
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise kind_of(error.cause)(str(error.cause)) from error
            raise
        except RayError as error:
            raise kind_of(error)(f"{self.corpus.uri}: no server came up: {error}") from error


def _start_server(corpus: Corpus, shard_ids: Sequence[str], mount: Mount, node: str) -> Any:
    # Soft: where its node is gone for good, a server restarts on another. Of an actor that asks for
    # no resource Ray ignores a soft affinity and picks any node; so a server asks for a byte.
    actor: Any = ray.remote(ShardServer).options(
        num_cpus=0,
        memory=1,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=MAX_CONCURRENCY,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
    )
    return actor.remote(corpus.uri, corpus.version, shard_ids, mount)


def _held(
    corpus: Corpus, chains: Sequence[int], number: int, num_servers: int, replicas: int
) -> list[str]:
    """Ids of the shards that a server holds."""
    held = {(number - replica) % num_servers for replica in range(replicas)}
    return [shard.id for shard, chain in zip(corpus.shards, chains, strict=True) if chain in held]
