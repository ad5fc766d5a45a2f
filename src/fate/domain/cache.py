"""A prefix cache in blocks: path nodes of prompts, least recently used out first.

A path node stands for a segment behind all segments before it, under one model. A prompt reuses
the leading run of its nodes that is cached. Deepest nodes count as used first, so that leaves go
before what they hang from, and the cached nodes of a path are always its leading ones.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

#: (node, its tokens), root first.
PathNodes: TypeAlias = Sequence[tuple[Hashable, int]]


@dataclass(slots=True)
class PrefixCache:
    """The cached path nodes of a device, over all models, within `budget_tokens`.

    `nodes` has (tokens, logical time of last use) by node, least recently used first.
    """

    budget_tokens: int
    nodes: dict[Hashable, tuple[int, int]] = field(default_factory=dict[Hashable, tuple[int, int]])
    used_tokens: int = 0

    def leading(self, path: PathNodes) -> int:
        """Return the tokens of the leading nodes of a path that are cached."""
        total = 0
        for node, tokens in path:
            if node not in self.nodes:
                break
            total += tokens
        return total

    def touch(self, path: PathNodes, clock: int) -> None:
        """Cache all nodes of a path; while the budget is exceeded others go, then its leaves."""
        for node, tokens in reversed(path):
            before = self.nodes.pop(node, None)
            if before is None:
                self.used_tokens += tokens
            self.nodes[node] = (tokens, clock)
        while self.used_tokens > self.budget_tokens:
            oldest = next(iter(self.nodes))
            self.used_tokens -= self.nodes.pop(oldest)[0]


def keyed(model: str, keys: Iterable[tuple[str, int]]) -> list[tuple[Hashable, int]]:
    """Return the path nodes of (segment key, tokens) under a model."""
    node: tuple[str, ...] = (model,)
    path: list[tuple[Hashable, int]] = []
    for key, tokens in keys:
        node = (*node, key)
        path.append((node, tokens))
    return path
