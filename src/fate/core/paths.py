"""Prompt paths as rows of integers, so that shared prefixes are found by array comparison."""

import numpy as np

from fate.domain.graph import Path
from fate.domain.snapshot import I32

#: Segments of a path that count for prefix reuse; what lies deeper is computed anew anyway.
DEPTH = 24

#: Pairs up to which plain loops are quicker than array comparisons.
_FEW = 32

#: Row of the empty path.
EMPTY = 0


class PathTable:
    """Interns paths; equal entries at depth k in two rows mean equal first k + 1 segments."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], int] = {}
        self._nodes: dict[tuple[int, str], int] = {}
        self._entries: list[list[tuple[int, int]]] = []
        self._node_ids = np.full((64, DEPTH), -1, np.int32)
        self._tokens = np.zeros((64, DEPTH), np.int32)
        self._written = 0
        self.row(())

    def row(self, path: Path) -> int:
        """Return the row of `path`; token counts are those of its first appearance."""
        key = tuple([segment.key for segment in path[:DEPTH]])
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._rows)
            self._add(path[:DEPTH])
        return row

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

    def _add(self, path: Path) -> None:
        parent, entries = -1, list[tuple[int, int]]()
        for segment in path:
            parent = self._nodes.setdefault((parent, segment.key), len(self._nodes))
            entries.append((parent, segment.tokens))
        self._entries.append(entries)

    def _write(self) -> None:
        """Bring the arrays up to date: only comparisons of many rows need them."""
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
