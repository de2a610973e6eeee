"""Starts and stops the actors that serve a corpus."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raclib.corpus.client import CorpusClient
from raclib.corpus.corpus import Corpus
from raclib.corpus.manifest import ShardInfo
from raclib.corpus.mounts import Mount, choose_mount
from raclib.corpus.routing import Routing
from raclib.corpus.server import ShardServer
from raclib.errors import UserError


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
    ) -> Self:
        """Starts the servers and waits until every shard is mounted.

        Args:
            corpus: What to serve.
            num_servers: Actors; by default one a node.
            replicas: Servers that hold each shard.
            mount: `mmap` (the corpus is on a path every node sees), `hydrate` (each node copies its
                shards to its own storage, once) or `auto`.
            cache_dir: Folder of each node for copies; by default RACLIB_CACHE_DIR, else one in the
                temporary folder.

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
        chosen = Mount(choose_mount(corpus.uri, mount), cache_dir)
        store = cls(corpus, _start_servers(corpus, nodes, num_servers, replicas, chosen), chosen)
        try:
            store._wait_until_mounted()
        except BaseException:
            store.stop()
            raise
        return store

    def client(self, local: bool = True) -> CorpusClient:
        """A client for any Ray worker; small and picklable.

        Args:
            local: Read shards that are on the client's machine without a call.
        """
        return CorpusClient(self.corpus, self.routing, self.mount, local)

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

    def _wait_until_mounted(self) -> None:
        try:
            ray.get([server.mount.remote() for server in self.routing.servers])
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from error
            raise
        except RayError as error:
            raise UserError(f"{self.corpus.uri}: no server came up: {error}") from error


def _start_servers(
    corpus: Corpus, nodes: Sequence[str], num_servers: int, replicas: int, mount: Mount
) -> Routing:
    chains = _spread(corpus.shards, num_servers)
    servers: list[ActorHandle] = []
    for number in range(num_servers):
        held = {(number - replica) % num_servers for replica in range(replicas)}
        ids = [
            shard.id for shard, chain in zip(corpus.shards, chains, strict=True) if chain in held
        ]
        # Soft: where its node is gone for good, a server restarts on another.
        node = NodeAffinitySchedulingStrategy(nodes[number % len(nodes)], soft=True)
        actor: Any = ray.remote(ShardServer).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=node
        )
        servers.append(actor.remote(corpus.uri, corpus.version, ids, mount))
    return Routing(tuple(servers), tuple(chains), replicas)


def _spread(shards: Sequence[ShardInfo], num_servers: int) -> list[int]:
    """A first server for each shard, so that all hold about as many rows."""
    held = [0] * num_servers
    chains = []
    for shard in shards:
        chain = held.index(min(held))
        held[chain] += shard.num_rows
        chains.append(chain)
    return chains
