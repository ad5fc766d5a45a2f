"""Builds the picture a policy sees; cost independent of how much work is waiting."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, cast

import numpy as np

from fate.core.fleet import Fleet
from fate.core.foretold import Foretold, foretell
from fate.core.lifecycle import Lifecycle
from fate.core.nodes import (
    Edge,
    Nodes,
    add_waiting,
    look_everywhere,
    look_near,
    ready_nodes,
)
from fate.core.options import SchedulerOptions
from fate.core.paths import EMPTY
from fate.core.pool import ReadyChunk, Work
from fate.core.service import columns
from fate.domain.catalog import Cluster
from fate.domain.snapshot import F64, I32, U8, Snapshot
from fate.domain.state import ParkedState, SequenceSlot
from fate.policy.base import Lookahead

#: Columns of numbers, one for each node.
_NUMBERS = (
    "first_tokens",
    "rest_tokens",
    "head_tokens",
    "rest_items",
    "output_tokens",
    "tail_s",
    "output_bytes",
    "released_at_s",
)


class SnapshotBuilder:
    """Turns the core's state into arrays; what never changes is computed once."""

    def __init__(
        self, lifecycle: Lifecycle, fleet: Fleet, options: SchedulerOptions, seed: int
    ) -> None:
        self._lifecycle, self._fleet, self._options, self._seed = lifecycle, fleet, options, seed
        cluster = fleet.cluster
        self._bound = min(
            max(options.frontier_per_device * len(cluster.devices), options.frontier_min),
            options.frontier_max,
        )
        self._models = {model.id: m for m, model in enumerate(cluster.models)}
        self._names = [model.id for model in cluster.models]
        self._cache_tokens = np.array(
            [d.cache_tokens if d.prefix == "blocks" else 0 for d in cluster.devices], np.int64
        )
        self._supports = np.array(
            [[cluster.supports(d, m) for d in cluster.devices] for m in cluster.models], np.uint8
        ).reshape(len(cluster.models), len(cluster.devices))
        footprints = [model.footprint_bytes for model in cluster.models]
        managed = np.array([[d.managed] for d in cluster.devices], np.int64)
        self._footprint = managed * np.array([footprints], np.int64).reshape(1, -1)
        self._memory = np.array([device.memory_bytes for device in cluster.devices], np.int64)
        self._slots = max(device.slots for device in cluster.devices)
        self._sequences = max(
            max((d.sequences for d in cluster.devices if d.prefix == "sequences"), default=1), 1
        )
        self._pinned = np.repeat((1 - managed).astype(np.uint8), len(cluster.models), axis=1)
        blocks = np.array([[d.prefix == "blocks"] for d in cluster.devices], np.uint8)
        self._outlives = np.repeat(blocks, len(cluster.models), axis=1)
        self._no_content = no_content(cluster, self._sequences)
        self._link = link_table(cluster)
        self._linked = bool(self._link.any())

    def build(
        self, version: int, now_s: float, *, whole_frontier: bool, lookahead: Lookahead
    ) -> Snapshot:
        """Return a snapshot; `whole_frontier` lifts the frontier's bound (early binding)."""
        running = foretell(self._fleet, now_s)
        nodes = self._nodes(lookahead, now_s, running, whole=whole_frontier)
        works = nodes.works
        state, rows = self._state()
        slots = self._slots_now(now_s, running)
        tables = self._fleet.estimator.tables()
        model, instance, workflow = _integers(nodes)
        return Snapshot(
            version=version,
            now_s=now_s,
            seed=(self._seed, version),
            clock=self._fleet.clock + 1,
            ready_total=len(self._lifecycle.pool),
            chunks=tuple([ready.chunk for ready in nodes.frontier]),
            node_names=tuple(nodes.names),
            model=model,
            instance=instance,
            workflow=workflow,
            **_numbers(nodes),
            transfer_s=self._transfer(nodes),
            link=self._link,
            eligible=self._eligible(nodes, model),
            **self._prefixes(works, rows),
            **self._moved(works, model),
            waited_s=np.array([now_s - ready.since_s for ready in nodes.frontier], np.float64),
            **columns(
                nodes.frontier, nodes.owners[: len(nodes.frontier)], now_s, len(self._memory)
            ),
            must_start=np.array([r.overdue_at_s <= now_s for r in nodes.frontier], np.uint8),
            **_csr(nodes.edges),
            **slots,
            **state,
            pinned=self._pinned,
            footprint_bytes=self._footprint,
            memory_bytes=self._memory,
            parks=self._fleet.parking.table | self._outlives,
            settled_at_s=running.settled_at_s,
            loader_at_s=running.loader_at_s,
            load_s=tables.load_s,
            unload_s=tables.unload_s,
            prefill=tables.prefill,
            decode=tables.decode,
            copy_s=self._fleet.parking.copy_s,
            slowdown=tables.slowdown,
        )

    def look(self, now_s: float, *, whole_frontier: bool, lookahead: Lookahead) -> None:
        """Leave behind in the core what `build` does, without its arrays.

        Waiting work is estimated when it is first looked at, and its prompt takes its place in the
        table of paths then; what devices hold has been work before.
        """
        if lookahead == "none":
            return
        frontier = self._frontier(lookahead, now_s, whole=whole_frontier)
        lookahead = self._possible(lookahead, whole=whole_frontier)
        names = [ready.chunk.instance for ready in frontier]
        if lookahead == "all":
            owners = [self._lifecycle.instances[name] for name in names]
            add_waiting(Nodes(frontier, owners, [], [], []), self._lifecycle, self._options)
        else:  # chunks of one instance look at the same stages
            owners = [self._lifecycle.instances[name] for name in dict.fromkeys(names)]
            look_near(Nodes(frontier, owners, [], [], []), self._lifecycle, self._options)

    def _nodes(
        self, lookahead: Lookahead, now_s: float, running: Foretold, *, whole: bool
    ) -> Nodes:
        """The frontier and what is ahead of it."""
        nodes = ready_nodes(self._frontier(lookahead, now_s, whole=whole), self._lifecycle)
        lookahead = self._possible(lookahead, whole=whole)
        if lookahead == "all":
            look_everywhere(nodes, self._lifecycle, running, self._options, now_s)
        elif lookahead == "near":
            look_near(nodes, self._lifecycle, self._options)
        return nodes

    def _frontier(self, lookahead: Lookahead, now_s: float, *, whole: bool) -> list[ReadyChunk]:
        """What is ready, bounded unless the policy wants all of it."""
        pool = self._lifecycle.pool
        bound = self._options.ready_max if lookahead == "all" else self._bound
        return pool.frontier(len(pool) if whole else bound, now_s)

    def _possible(self, lookahead: Lookahead, *, whole: bool) -> Lookahead:
        """Not all that waits can be shown where its parents are ready and are not shown."""
        many = len(self._lifecycle.pool) > self._options.ready_max and not whole
        return "near" if lookahead == "all" and many else lookahead

    def _prefixes(self, works: list[Work], rows: list[int]) -> dict[str, Any]:
        """Path nodes of prompts and contents, and which of them caches of blocks hold."""
        caches = [state.cache for state in self._fleet.devices]
        cached = [node for cache in caches if cache is not None for node in cache.nodes]
        picture = self._lifecycle.expect.paths.picture(
            [work.path_row for work in works],
            rows + [work.left_row for work in works],
            cast("list[int]", cached),
        )
        cached_at = np.full((len(caches), len(picture.nodes)), -1, np.int64)
        for d, cache in enumerate(caches):
            if cache is not None and cache.nodes:
                places = np.searchsorted(picture.nodes, np.array(list(cache.nodes), np.int64))
                cached_at[d, places] = [used_at for _, used_at in cache.nodes.values()]
        return {
            "prompt": picture.prompts,
            "held": picture.contents,
            "path_tokens": picture.tokens,
            "cached_at": cached_at,
            "cache_tokens": self._cache_tokens,
        }

    def _transfer(self, nodes: Nodes) -> F64:
        """Seconds to gather outputs that lie on devices, or will when what runs there ends."""
        seconds = np.zeros((len(nodes.owners), len(self._fleet.devices)))
        if not self._linked:
            return seconds
        parts = [
            (row, source, size)
            for row, owner in enumerate(nodes.owners)
            for source, size in self._lifecycle.gathered(owner)
        ]
        parts += self._leaving(nodes)
        if parts:
            row, source, size = np.array(parts, np.int64).T
            link = self._link[source]
            np.add.at(seconds, row, link[:, :, 0] + link[:, :, 1] * size[:, None])
        return seconds

    def _leaving(self, nodes: Nodes) -> list[tuple[int, int, int]]:
        """Return (row, device, bytes) of what nodes take from their parents that run."""
        rows_of: dict[int, list[int]] = {}
        for row, owner in enumerate(nodes.owners):
            rows_of.setdefault(owner.number, []).append(row)
        found: list[tuple[int, int, int]] = []
        for chain in self._fleet.chains:
            if chain.chunk is None or chain.device < 0:
                continue
            parent = self._lifecycle.instances[chain.chunk.instance]
            size = parent.stage.output_bytes * (chain.chunk.stop - chain.chunk.start)
            for child in parent.children if size else ():
                rows = rows_of.get(child.number, ())
                found += [(row, chain.device, size) for row in rows]
        return found

    def _eligible(self, nodes: Nodes, model: I32) -> U8:
        usable = [state.usable for state in self._fleet.devices]
        eligible = self._supports[model]
        if not all(usable):
            eligible *= np.array(usable, np.uint8)
        for row, ready in enumerate(nodes.frontier):
            if ready.avoid and any(
                eligible[row, d] for d in range(len(usable)) if d not in ready.avoid
            ):
                eligible[row, list(ready.avoid)] = 0
        return eligible

    def _state(self) -> tuple[dict[str, Any], list[int]]:
        """Residency and sequence contents [D, M, K], and the path row of each content."""
        shape = (len(self._fleet.devices), len(self._models))
        resident, used_at = np.zeros(shape, np.uint8), np.zeros(shape, np.int64)
        content, content_used_at = (
            self._no_content.copy(),
            np.zeros_like(self._no_content, np.int64),
        )
        rows: list[int] = []
        for d, m, k, sequence in self._contents(resident, used_at):
            row = self._lifecycle.expect.paths.row(self._names[m], sequence.path)
            if row != EMPTY:
                content[d, m, k] = len(rows)
                rows.append(row)
            content_used_at[d, m, k] = sequence.used_at
        state = {"resident": resident, "used_at": used_at}
        return state | {"content": content, "content_used_at": content_used_at}, rows

    def _contents(
        self, resident: U8, used_at: np.ndarray
    ) -> Iterator[tuple[int, int, int, SequenceSlot | ParkedState]]:
        """Yield (device, model, sequence) of each content, parked ones too; mark what is loaded.

        What a model on its way out holds counts where it will be parked.
        """
        for d, state in enumerate(self._fleet.devices):
            for name, entry in state.models.items():
                m = self._models[name]
                if entry.status != "evicting":
                    resident[d, m], used_at[d, m] = 1, entry.used_at
                elif not self._fleet.parking.keeps(d, name):
                    continue
                for k, sequence in enumerate(entry.sequences):
                    yield d, m, k, sequence
            for name, parked in state.parked.items():
                for k, one in parked.items() if name not in state.models else ():
                    yield d, self._models[name], k, one

    def _moved(self, works: list[Work], model: I32) -> dict[str, F64]:
        """What other devices hold of each node's prompt, and the seconds to bring it."""
        moving, shape = self._fleet.moving, (len(works), len(self._fleet.devices))
        if not moving.linked:
            return {"moved": np.zeros(shape), "move_s": np.zeros(shape)}
        models = range(len(self._models))
        held = [(m, c) for m in models for c in moving.contents(self._fleet.devices, m)]
        paths = self._lifecycle.expect.paths
        rows = [paths.row(self._names[m], content.path) for m, content in held]
        hit = paths.hits([work.path_row for work in works], rows)
        first = np.array([work.first_tokens for work in works], np.float64)
        table = moving.table(held, model, hit, first)
        moved, move_s = (np.ascontiguousarray(table[:, :, i]) for i in range(2))
        return {"moved": moved, "move_s": move_s}

    def _slots_now(self, now_s: float, running: Foretold) -> dict[str, F64 | I32]:
        """What each compute slot runs, when its call begins, and when the slot is free."""
        fleet = self._fleet
        shape = (len(fleet.devices), self._slots)
        free_at_s, ids = np.full(shape, np.inf), np.full((3, *shape), -1, np.int32)
        begins, taken = np.zeros((3, *shape)), [0] * shape[0]
        for d, state in enumerate(fleet.devices):
            if state.usable:
                free_at_s[d, : state.most_calls] = now_s
        for chain, expected in running.chains.items():
            d = chain.device
            if d < 0 or chain.chunk is None or not fleet.devices[d].usable:
                continue
            slot = taken[d]
            taken[d] += 1
            free_at_s[d, slot] = expected.end_s
            number = self._lifecycle.instances[chain.chunk.instance].number
            ids[:, d, slot] = number, fleet.models[chain.steps[-1].model], chain.sequence
            if expected.call_at_s > now_s:
                begins[:, d, slot] = expected.call_at_s, expected.gather_s, expected.work_s
        instance, model, sequence = ids
        call_at_s, gather_s, work_s = begins
        return {
            "free_at_s": free_at_s,
            "running_instance": instance,
            "running_model": model,
            "running_sequence": sequence,
            "call_at_s": call_at_s,
            "call_gather_s": gather_s,
            "call_work_s": work_s,
        }


def no_content(cluster: Cluster, sequences: int) -> I32:
    """Return [D, M, K] contents of empty devices: -1 for each sequence slot, -2 for none."""
    content = np.full((len(cluster.devices), len(cluster.models), sequences), -2, np.int32)
    for d, device in enumerate(cluster.devices):
        if device.prefix == "sequences":
            content[d, :, : device.sequences] = -1
    return content


def link_table(cluster: Cluster) -> F64:
    """Return [D, D, 2] (fixed, per byte) seconds between devices; zero where no link is given.

    Outputs without a declared link pass through the host, as text does: for free.
    """
    index = {device.id: d for d, device in enumerate(cluster.devices)}
    table = np.zeros((len(index), len(index), 2))
    for link in cluster.links:
        cell = (link.latency_s, 1.0 / link.bytes_per_s)
        table[index[link.source], index[link.target]] = cell
    return table


def _integers(nodes: Nodes) -> I32:
    """Return each node's model, instance and workflow as rows of one array."""
    return np.array(
        [
            [work.model for work in nodes.works],
            [owner.number for owner in nodes.owners],
            [owner.workflow.number for owner in nodes.owners],
        ],
        np.int32,
    )


def _numbers(nodes: Nodes) -> dict[str, F64]:
    """Return the sizes of nodes; rows of one array, which is made in one go."""
    works, owners = nodes.works, nodes.owners
    table = np.array(
        [
            [work.first_tokens for work in works],
            [work.rest_tokens for work in works],
            [work.head_tokens for work in works],
            [work.rest_items for work in works],
            [work.output_tokens for work in works],
            [owner.tail_s for owner in owners],
            [owner.stage.output_bytes * n for owner, n in zip(owners, nodes.items, strict=True)],
            nodes.released_at_s,
        ],
        np.float64,
    )
    return dict(zip(_NUMBERS, table, strict=True))


def _csr(edges: list[list[Edge]]) -> dict[str, I32 | F64]:
    """Return edges as pointers, targets, weights and seconds in between."""
    flat = [edge for row in edges for edge in row]
    return {
        "child_ptr": np.array([0, *accumulate(map(len, edges))], np.int32),
        "child": np.array([edge.child for edge in flat], np.int32),
        "child_share": np.array([edge.share for edge in flat], np.float64),
        "child_after_s": np.array([edge.after_s for edge in flat], np.float64),
    }
