"""Which servers have which shard."""

from dataclasses import dataclass

from ray.actor import ActorHandle


@dataclass(frozen=True)
class Routing:
    """A chain of servers for every shard.

    Args:
        servers: All servers.
        chains: For each shard the number of the first server of its chain.
        replicas: Length of a chain; it goes on with the servers that follow, round the end.
    """

    servers: tuple[ActorHandle, ...]
    chains: tuple[int, ...]
    replicas: int

    def number(self, chain: int, attempt: int) -> int:
        """Number of the server to ask at an attempt."""
        return (chain + attempt % self.replicas) % len(self.servers)
