"""Which parts of prompts several calls of a case have in common: what a cache could ever hold.

Prompts and answers of one model form a trie over their segments. A node of it that two calls
touch can be found cached by one of them; what only one call touches is always computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fate.bench.pricing import Priced
from fate.domain.graph import path_tokens
from fate.domain.state import usable_hit


@dataclass(slots=True)
class Piece:
    """A segment at its place behind others, as far as it is ever computed for a prompt.

    `start` and `stop` are tokens from the root; `users` are calls whose prompts go through it,
    `maker` the call that generates it, -1 if none does.
    """

    model: int
    start: int
    stop: int
    users: list[int] = field(default_factory=list[int])
    maker: int = -1

    @property
    def common(self) -> bool:
        """Whether one call may find it where another one left it."""
        return len(self.users) + (self.maker >= 0) > 1


@dataclass(frozen=True, slots=True)
class Sharing:
    """The pieces that several calls touch, and how much of each prompt they cover.

    `shared[j]` counts the leading tokens of call j's prompt that another call may leave behind.
    """

    p: Priced
    pieces: tuple[Piece, ...]
    shared: tuple[int, ...]

    def cached(self, j: int, device: int) -> float:
        """Return the most tokens of a prompt that may ever be cached on a device."""
        if self.p.case.cluster.devices[device].prefix == "none":
            return 0.0
        return float(int(usable_hit(self.shared[j], path_tokens(self.p.nodes[j].prompt))))


def sharing(p: Priced) -> Sharing:
    """Return what the calls of a case share."""
    found: dict[int, Piece] = {}
    names: dict[tuple[int, str], int] = {}
    walks = [list(_places(p, j, names)) for j in range(len(p.nodes))]
    for j, walk in enumerate(walks):
        last = path_tokens(p.nodes[j].prompt) - 1  # the last token is computed whatever is cached
        for place, start, stop, made in walk:
            piece = found.setdefault(place, Piece(p.nodes[j].model, start, stop))
            if made:
                piece.maker = j
            else:
                piece.users.append(j)
                piece.stop = min(piece.stop, stop, last)
    shared = [
        max((stop for place, _, stop, made in walk if not made and found[place].common), default=0)
        for walk in walks
    ]
    kept = [piece for piece in found.values() if piece.common and piece.stop > piece.start]
    return Sharing(p, tuple(kept), tuple(shared))


def _places(
    p: Priced, j: int, names: dict[tuple[int, str], int]
) -> Iterator[tuple[int, int, int, bool]]:
    """Yield (place in the trie, first token, token after the last, whether the call makes it)."""
    node = p.nodes[j]
    if node.kind == "tool":
        return
    place, at = -1 - node.model, 0
    for segment in (*node.prompt, node.answer):
        place = names.setdefault((place, segment.key), len(names))
        yield place, at, at + segment.tokens, segment is node.answer
        at += segment.tokens
