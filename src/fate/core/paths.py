"""Prompt paths as rows of integers, so that shared prefixes are found by array comparison."""

from typing import NamedTuple

import numpy as np

from fate.domain.graph import Path
from fate.domain.snapshot import I32, I64

#: Segments of a path that count for prefix reuse; what lies deeper is computed anew anyway.
DEPTH = 24

#: Pairs up to which plain loops are quicker than array comparisons.
_FEW = 32

#: Row of the empty path.
EMPTY = 0


class Picture(NamedTuple):
    """Paths with their nodes numbered from 0 to Q - 1, every node after the one above it.

    prompts, contents: [N, L] and [P, L] i32 the node of each leading segment, -1 behind the last.
    tokens: [Q, 2] i32 of a node itself, and from the root to its end.
    nodes: [Q] i64 the table's own number of each node.
    """

    prompts: I32
    contents: I32
    tokens: I32
    nodes: I64


class PathTable:
    """Interns paths by model; equal entries at depth k in two rows mean equal first segments."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], int] = {}
        self._nodes: dict[tuple[int, str], int] = {}
        self._entries: list[tuple[tuple[int, int], ...]] = []
        self._node_ids = np.full((64, DEPTH), -1, np.int32)
        self._tokens = np.zeros((64, DEPTH), np.int32)
        self._written = 0
        self._node_tokens = np.zeros((64, 2), np.int32)
        self._measured: list[tuple[int, int]] = []
        self._changed: set[int] = set()
        self.row("", ())

    def row(self, model: str, path: Path) -> int:
        """Return the row of `path`; its token counts are those of its first appearance.

        Every empty path has the row `EMPTY`.
        """
        if not path:
            model = ""
        key = (model, *[segment.key for segment in path[:DEPTH]])
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._rows)
            self._add(model, path[:DEPTH])
        return row

    def nodes(self, row: int) -> tuple[tuple[int, int], ...]:
        """Return (path node, its tokens) of a row, root first; nodes are numbered downwards."""
        return self._entries[row]

    def picture(self, prompts: list[int], contents: list[int], cached: list[int]) -> "Picture":
        """Return the paths of prompts and contents, their nodes and the cached ones numbered anew.

        Without a path node anywhere, L and Q are 0.
        """
        rows = prompts + contents
        deepest = max([len(self._entries[row]) for row in rows], default=0)
        if deepest:
            self._write()
        paths = self._node_ids[rows, :deepest] if deepest else np.zeros((len(rows), 0), np.int32)
        flat = np.concatenate([paths.ravel(), np.array(cached, np.int32)])
        ids, places = np.unique(flat, return_inverse=True)
        padded = int(len(ids) > 0 and ids[0] < 0)
        local = (places[: paths.size].reshape(paths.shape) - padded).astype(np.int32)
        nodes = ids[padded:].astype(np.int64)
        cut = len(prompts)
        return Picture(local[:cut], local[cut:], self._node_tokens[nodes], nodes)

    def hits(self, prompts: list[int], contents: list[int]) -> I32:
        """Return [prompts, contents] leading tokens of each prompt that each content holds."""
        if len(prompts) * len(contents) <= _FEW:
            few = [self._shared(prompt, content) for prompt in prompts for content in contents]
            return np.array(few, np.int32).reshape(len(prompts), len(contents))
        self._write()
        mine, tokens = self._node_ids[prompts], self._tokens[prompts]
        theirs = self._node_ids[contents]
        total = np.zeros((len(prompts), len(contents)), np.int32)
        for depth in range(DEPTH):
            column = mine[:, depth, None]
            same = (column == theirs[None, :, depth]) & (column >= 0)
            if not same.any():
                break
            total += same * tokens[:, depth, None]
        return total

    def _shared(self, prompt: int, content: int) -> int:
        """Return the leading tokens of one prompt that one content holds."""
        total = 0
        for (node, tokens), (other, _) in zip(
            self._entries[prompt], self._entries[content], strict=False
        ):
            if node != other:
                break
            total += tokens
        return total

    def _add(self, model: str, path: Path) -> None:
        parent, above, entries = -1, 0, list[tuple[int, int]]()
        for place, segment in enumerate(path):
            key = (parent, segment.key if place else f"{model}\0{segment.key}")
            parent = self._nodes.setdefault(key, len(self._nodes))
            above += segment.tokens
            self._measure(parent, segment.tokens, above)
            entries.append((parent, segment.tokens))
        self._entries.append(tuple(entries))

    def _measure(self, node: int, tokens: int, upto: int) -> None:
        """Take note of a node's tokens, its own and from the root on: an answer's may change."""
        if node == len(self._measured):
            self._measured.append((tokens, upto))
        elif self._measured[node] == (tokens, upto):
            return
        else:
            self._measured[node] = (tokens, upto)
        self._changed.add(node)

    def _write(self) -> None:
        """Bring the arrays up to date: only comparisons of many rows need them."""
        while len(self._node_tokens) < len(self._measured):
            more = np.zeros_like(self._node_tokens)
            self._node_tokens = np.concatenate([self._node_tokens, more], axis=0)
        for node in self._changed:
            self._node_tokens[node] = self._measured[node]
        self._changed.clear()
        while len(self._node_ids) < len(self._entries):
            self._node_ids = np.concatenate(
                [self._node_ids, np.full_like(self._node_ids, -1)], axis=0
            )
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)], axis=0)
        for row in range(self._written, len(self._entries)):
            for depth, (node, tokens) in enumerate(self._entries[row]):
                self._node_ids[row, depth] = node
                self._tokens[row, depth] = tokens
        self._written = len(self._entries)
