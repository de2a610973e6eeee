"""Which servers have which shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raclib.corpus.manifest import ShardInfo


@dataclass(frozen=True)
class Routing:
    """A chain of servers for every shard.

    Args:
        servers: Actor handles of all servers.
        chains: For each shard the number of the first server of its chain.
        replicas: Length of a chain; it goes on with the servers that follow, round the end.
    """

    servers: tuple[Any, ...]
    chains: tuple[int, ...]
    replicas: int

    def number(self, chain: int, attempt: int) -> int:
        """Number of the server to ask at an attempt."""
        return (chain + attempt % self.replicas) % len(self.servers)


def spread(
    shards: Sequence[ShardInfo], num_servers: int, old: Mapping[str, int] | None = None
) -> tuple[int, ...]:
    """A first server for each shard, so that all hold about as many rows.

    Args:
        shards: All shards.
        num_servers: Servers.
        old: Shards that stay where they are.
    """
    chains = dict(old or {})
    held = [0] * num_servers
    for shard in shards:
        if shard.id in chains:
            held[chains[shard.id]] += shard.num_rows
    for shard in shards:
        if shard.id not in chains:
            chains[shard.id] = held.index(min(held))
            held[chains[shard.id]] += shard.num_rows
    return tuple(chains[shard.id] for shard in shards)
