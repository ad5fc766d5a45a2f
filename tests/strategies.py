"""Snapshots for tests: random ones for properties, and a builder for hand-made ones."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from hypothesis import strategies as st

from fate.core.paths import PathTable
from fate.domain.cache import PrefixCache
from fate.domain.graph import Chunk, Segment
from fate.domain.snapshot import Snapshot

#: Segments as (key, tokens), root first; of a cached path the model's comes first.
Keys: TypeAlias = tuple[tuple[str, int], ...]


class Node(msgspec.Struct, kw_only=True):
    """A call of a hand-made snapshot; `children` are positions in the list of nodes.

    `prompt` has the leading segments that others may share, as (key, tokens); the rest of the
    tokens is the node's own. What a node leaves behind is its prompt and an answer under `left`.
    `after_s` are seconds of tools between parents and the node; by default some have half a second.
    """

    model: int = 0
    tokens: float = 100.0
    output: float = 10.0
    items: int = 1
    rest_tokens: float = 0.0
    head_tokens: float = 0.0
    tail_s: float = 0.0
    instance: int = -1
    workflow: int = 0
    must_start: bool = False
    children: tuple[int, ...] = ()
    prompt: tuple[tuple[str, int], ...] = ()
    left: str = ""
    released_at_s: float = 0.0
    after_s: float | None = None
    transfer_s: tuple[float, ...] = ()
    moved: tuple[float, ...] = ()
    move_s: tuple[float, ...] = ()
    eligible: tuple[int, ...] = ()
    output_bytes: float = 0.0
    waited_s: float = 0.0
    attained_s: float = 0.0
    path_s: float = 0.0
    age_s: float = 0.0
    gap_s: float = 0.0
    home: int = -1
    parents_on: tuple[int, ...] = ()


class Box(msgspec.Struct, kw_only=True):
    """A device of a hand-made snapshot: free in `free_in` seconds, by slot.

    `resident` maps models to what their sequence slots hold (positions of contents, -1 empty);
    the first is the least recently used. `parked` maps other models to what comes back with them;
    `parks` says whether evictions keep contents, `copy_s` what a copy takes per token held. What
    runs in each slot `uses` a (model, sequence), and its call `begins` in so many seconds, gathers
    and works; loads and unloads end in `settled_in` seconds.
    """

    free_in: tuple[float, ...] = (0.0,)
    resident: dict[int, tuple[int, ...]] = {}
    pinned: tuple[int, ...] = ()
    memory: int = 100
    sequences: int = 2
    running: tuple[int, ...] = ()
    uses: tuple[tuple[int, int], ...] = ()
    begins: tuple[tuple[float, float, float], ...] = ()
    settled_in: dict[int, float] = {}
    speed: float = 1.0
    parks: bool = False
    parked: dict[int, tuple[int, ...]] = {}
    copy_s: float = np.inf
    cache: int = 0
    cached: tuple[Keys, ...] = ()


class Kind(msgspec.Struct, kw_only=True):
    """A model of a hand-made snapshot: seconds to load and unload, per prompt and output token."""

    bytes: int = 100
    load_s: float = 10.0
    unload_s: float = 0.0
    prefill_s: float = 0.01
    decode_s: float = 0.1
    depth_s: float = 0.0
    fixed_s: float = 0.0


def make_snapshot(
    ready: Sequence[Node],
    devices: Sequence[Box],
    models: Sequence[Kind],
    waiting: Sequence[Node] = (),
    *,
    contents: Sequence[Keys] = (),
    now_s: float = 100.0,
    link_s: float = 0.0,
    seed: tuple[int, int] = (0, 1),
) -> Snapshot:
    """Build a snapshot by hand; nodes are numbered through `ready`, then `waiting`.

    One chunk of one item per node, unless nodes share an `instance`, which makes them chunks of
    one map. Eligible is, unless said otherwise, every device whose memory holds the model.
    """
    nodes = [*ready, *waiting]
    names, chunks = _names(nodes, len(ready))
    shape = (len(nodes), len(devices))
    kinds = [models[node.model] for node in nodes]
    return Snapshot(
        version=seed[1],
        now_s=now_s,
        seed=seed,
        clock=1000,
        ready_total=len(ready),
        chunks=tuple(chunks[: len(ready)]),
        node_names=tuple(names),
        model=_i32([n.model for n in nodes]),
        first_tokens=_f64([n.tokens for n in nodes]),
        rest_tokens=_f64([n.rest_tokens for n in nodes]),
        head_tokens=_f64([n.head_tokens for n in nodes]),
        rest_items=_f64([n.items - 1 for n in nodes]),
        output_tokens=_f64([n.output for n in nodes]),
        tail_s=_f64([n.tail_s for n in nodes]),
        transfer_s=_f64([n.transfer_s or (0.0,) * len(devices) for n in nodes], shape),
        moved=_f64([n.moved or (0.0,) * len(devices) for n in nodes], shape),
        move_s=_f64([n.move_s or (0.0,) * len(devices) for n in nodes], shape),
        output_bytes=_f64([n.output_bytes for n in nodes]),
        instance=_i32([_instance(n, i) for i, n in enumerate(nodes)]),
        workflow=_i32([n.workflow for n in nodes]),
        eligible=np.array(
            [
                n.eligible or [int(kind.bytes <= d.memory) for d in devices]
                for n, kind in zip(nodes, kinds, strict=True)
            ],
            dtype=np.uint8,
        ).reshape(shape),
        released_at_s=_f64([n.released_at_s for n in nodes]),
        **_prefixes(nodes, devices, contents),
        must_start=np.array([int(n.must_start) for n in ready], dtype=np.uint8),
        **_service(ready, len(devices)),
        **_edges(nodes),
        **_devices(devices, models, now_s),
        **_costs(devices, models, link_s),
    )


def _i32(values: Sequence[Any]) -> Any:
    return np.array(values, dtype=np.int32)


def _f64(values: Sequence[Any], shape: tuple[int, ...] = (-1,)) -> Any:
    return np.array(values, dtype=np.float64).reshape(shape)


def _instance(node: Node, index: int) -> int:
    return node.instance if node.instance >= 0 else 1000 + index


def _after(node: Node, index: int) -> float:
    return 0.5 * (index % 3 == 0) if node.after_s is None else node.after_s


def _names(nodes: Sequence[Node], ready: int) -> tuple[list[str], list[Chunk]]:
    """Name every node, and cut chunks of one instance one after the other."""
    names: list[str] = []
    chunks: list[Chunk] = []
    start: dict[str, int] = {}
    for index, node in enumerate(nodes):
        name = f"w{node.workflow}/s{_instance(node, index)}"
        names.append(name)
        first = start.get(name, 0)
        start[name] = first + node.items
        chunks.append(Chunk(name, first, first + node.items))
    return names, chunks[:ready]


def _prefixes(nodes: Sequence[Node], devices: Sequence[Box], contents: Sequence[Keys]) -> Any:
    """Number the path nodes of prompts, contents and caches as the core does."""
    table = PathTable()

    def row(model: str, keys: Sequence[tuple[str, int]]) -> int:
        return table.row(model, tuple(Segment(key, tokens) for key, tokens in keys))

    models = [f"m{node.model}" for node in nodes]
    prompts = [row(m, n.prompt) for m, n in zip(models, nodes, strict=True)]
    left = [
        row(m, (*n.prompt, (n.left or f"answer-{i}", int(n.output))))
        for i, (m, n) in enumerate(zip(models, nodes, strict=True))
    ]
    held = [row(keys[0][0], keys[1:]) for keys in contents]
    caches = [PrefixCache(box.cache) for box in devices]
    for box, cache in zip(devices, caches, strict=True):
        for clock, keys in enumerate(box.cached, 1):
            cache.touch(table.nodes(row(keys[0][0], keys[1:])), clock)
    picture = table.picture(prompts, held + left, [n for c in caches for n in c.nodes])  # type: ignore[misc]
    place = {int(node): q for q, node in enumerate(picture.nodes)}
    cached_at = np.full((len(devices), len(place)), -1, np.int64)
    for d, cache in enumerate(caches):
        for node, (_, used_at) in cache.nodes.items():
            cached_at[d, place[node]] = used_at  # type: ignore[index]
    return {
        "prompt": picture.prompts,
        "held": picture.contents,
        "path_tokens": picture.tokens,
        "cached_at": cached_at,
        "cache_tokens": np.array([box.cache for box in devices], np.int64),
    }


def _service(ready: Sequence[Node], devices: int) -> dict[str, Any]:
    times = ("waited_s", "attained_s", "path_s", "age_s", "gap_s")
    on = [n.parents_on or (0,) * devices for n in ready]
    return {name: _f64([getattr(n, name) for n in ready]) for name in times} | {
        "home": _i32([n.home for n in ready]),
        "parents_on": _i32(on).reshape(len(ready), devices),
    }


def _edges(nodes: Sequence[Node]) -> dict[str, Any]:
    parents = [0] * len(nodes)
    for node in nodes:
        for child in node.children:
            parents[child] += 1
    child = [c for node in nodes for c in node.children]
    return {
        "child_ptr": _i32([0, *np.cumsum([len(n.children) for n in nodes])]),
        "child": _i32(child),
        "child_share": _f64([1.0 / parents[c] for c in child]),
        "child_after_s": _f64([_after(nodes[c], c) for c in child]),
    }


def _devices(devices: Sequence[Box], models: Sequence[Kind], now_s: float) -> dict[str, Any]:
    slots = max(len(d.free_in) for d in devices)
    keep = max(d.sequences for d in devices)
    shape = (len(devices), len(models))
    used, resident, pinned = np.zeros(shape, np.int64), np.zeros(shape, "u1"), np.zeros(shape, "u1")
    content = np.full((*shape, keep), -2, np.int32)
    content_used = np.zeros((*shape, keep), np.int64)
    free = np.full((len(devices), slots), np.inf)
    running = np.full((len(devices), slots), -1, np.int32)
    for d, box in enumerate(devices):
        free[d, : len(box.free_in)] = [now_s + seconds for seconds in box.free_in]
        running[d, : len(box.running)] = box.running
        content[d, :, : box.sequences] = -1
        for rank, (model, held) in enumerate(box.resident.items()):
            resident[d, model], used[d, model] = 1, 100 + rank
            content[d, model, : len(held)] = held
            content_used[d, model, : len(held)] = [
                50 + k if c >= 0 else 0 for k, c in enumerate(held)
            ]
        for model, held in box.parked.items():
            content[d, model, : len(held)] = held
            content_used[d, model, : len(held)] = [
                10 + k if c >= 0 else 0 for k, c in enumerate(held)
            ]
        for model in box.pinned:
            pinned[d, model] = 1
    return {
        "free_at_s": free,
        "resident": resident,
        "used_at": used,
        "pinned": pinned,
        "footprint_bytes": np.array([[m.bytes for m in models] for _ in devices], dtype=np.int64),
        "memory_bytes": np.array([d.memory for d in devices], dtype=np.int64),
        "content": content,
        "content_used_at": content_used,
        "copy_s": np.array([[d.copy_s for _ in models] for d in devices], np.float64),
        "parks": np.array([[int(d.parks) for _ in models] for d in devices], np.uint8),
        "running_instance": running,
        **_running(devices, models, now_s),
        "slowdown": np.tile(1.0 + 0.5 * np.arange(slots), (len(devices), 1)),
    }


def _running(devices: Sequence[Box], models: Sequence[Kind], now_s: float) -> dict[str, Any]:
    slots = max(len(d.free_in) for d in devices)
    used = np.full((len(devices), slots, 2), -1, np.int32)
    begins = np.zeros((len(devices), slots, 3))
    settled = np.zeros((len(devices), len(models)))
    for d, box in enumerate(devices):
        for slot, use in enumerate(box.uses):
            used[d, slot] = use
        for slot, (begins_in, *rest) in enumerate(box.begins):
            begins[d, slot] = (now_s + begins_in, *rest)
        for model, seconds in box.settled_in.items():
            settled[d, model] = now_s + seconds
    return {
        "running_model": np.ascontiguousarray(used[..., 0]),
        "running_sequence": np.ascontiguousarray(used[..., 1]),
        "call_at_s": np.ascontiguousarray(begins[..., 0]),
        "call_gather_s": np.ascontiguousarray(begins[..., 1]),
        "call_work_s": np.ascontiguousarray(begins[..., 2]),
        "settled_at_s": settled,
        "loader_at_s": settled.max(axis=1, initial=0.0),
    }


def _costs(devices: Sequence[Box], models: Sequence[Kind], link_s: float) -> dict[str, Any]:
    def fits(model: Kind, box: Box, seconds: float) -> float:
        return seconds if model.bytes <= box.memory else np.inf

    shape = (len(devices), len(models))
    link = np.zeros((len(devices), len(devices), 2))
    link[..., 1] = link_s * (1.0 - np.eye(len(devices)))
    return {
        "load_s": _f64(
            [[fits(m, d, m.load_s) for m in models] for d in devices], (-1, len(models))
        ),
        "unload_s": _f64([[fits(m, d, m.unload_s) for m in models] for d in devices], shape),
        "prefill": _f64(
            [[(m.fixed_s, m.prefill_s / d.speed, m.depth_s) for m in models] for d in devices],
            (len(devices), len(models), 3),
        ),
        "decode": _f64(
            [[(0.0, m.decode_s / d.speed, m.depth_s) for m in models] for d in devices],
            (len(devices), len(models), 3),
        ),
        "link": link,
    }


def _sizes() -> st.SearchStrategy[float]:
    """Sizes with many ties and zeros among them."""
    return st.sampled_from([0.0, 1.0, 10.0, 64.0, 100.0, 100.0, 333.0])


def _seconds() -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, 0.0, 0.125, 0.1, 0.3, 1.0, 2.5, 7.0])


@st.composite
def _nodes(
    draw: st.DrawFn, models: int, first: int, count: int, total: int, *, waiting: bool
) -> list[Node]:
    """Draw nodes; each instance has one model, and edges lead to later, waiting nodes."""
    nodes: list[Node] = []
    for index in range(first, first + count):
        repeat = bool(nodes) and not waiting and draw(st.integers(0, 2)) == 0
        last = nodes[-1] if repeat else None
        below = range(max(index + 1, first + count if not waiting else 0), total)
        children = draw(st.lists(st.sampled_from(below), max_size=5, unique=True)) if below else []
        items = draw(st.sampled_from([1, 1, 1, 2, 5]))
        head = draw(_sizes()) if items > 1 else 0.0
        nodes.append(
            Node(
                model=last.model if last else draw(st.integers(0, models - 1)),
                instance=last.instance if last else 100 + index,
                workflow=last.workflow if last else draw(st.integers(0, 2)),
                tokens=draw(_sizes()) + 1.0,
                output=draw(_sizes()),
                items=items,
                rest_tokens=draw(_sizes()) if items > 1 else 0.0,
                head_tokens=head,
                tail_s=draw(_seconds()),
                children=tuple(last.children if last else sorted(children)),
                must_start=draw(st.integers(0, 9)) == 0,
                output_bytes=draw(_sizes()),
            )
        )
    return nodes


def _keys() -> st.SearchStrategy[Keys]:
    """Paths in a small tree; a segment has the same tokens wherever it stands."""
    segments = st.lists(st.sampled_from("abc"), max_size=4)
    return segments.map(lambda keys: tuple((key, 20 + 7 * ord(key) % 50) for key in keys))


@st.composite
def _contents(draw: st.DrawFn, models: int) -> list[Keys]:
    """Up to four paths, each under a model."""
    return [
        ((f"m{draw(st.integers(0, models - 1))}", 0), *draw(_keys()))
        for _ in range(draw(st.integers(0, 4)))
    ]


@st.composite
def _running_calls(
    draw: st.DrawFn, free_in: tuple[float, ...], models: list[int], sequences: int
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[float, float, float], ...]]:
    """Draw what runs in the slots of a device; some of it is still to begin."""
    uses: list[tuple[int, int]] = []
    begins: list[tuple[float, float, float]] = []
    for seconds in free_in:
        busy = seconds > 0.0 and bool(models)
        uses.append((draw(st.sampled_from(models)) if busy else -1, -1))
        if busy and sequences:
            uses[-1] = (uses[-1][0], draw(st.integers(-1, sequences - 1)))
        later = busy and len(free_in) > 1 and draw(st.booleans())
        gather_s = draw(st.sampled_from([0.0, seconds / 4]))
        begins.append(
            (seconds / 2, gather_s, seconds / 2 - gather_s) if later else (-1.0, 0.0, 0.0)
        )
    return tuple(uses), tuple(begins)


@st.composite
def _boxes(draw: st.DrawFn, models: list[Kind], contents: list[Keys]) -> list[Box]:
    boxes: list[Box] = []
    for _ in range(draw(st.integers(1, 4))):
        memory = draw(st.sampled_from([60, 100, 200, 1000]))
        sequences = draw(st.integers(0, 3))
        resident: dict[int, tuple[int, ...]] = {}
        room = memory
        for model in draw(st.permutations(range(len(models)))):
            if models[model].bytes <= room and draw(st.booleans()):
                room -= models[model].bytes
                held = st.integers(-1, len(contents) - 1)
                resident[model] = tuple(
                    draw(st.lists(held, min_size=sequences, max_size=sequences))
                )
        parks, held = draw(st.booleans()), st.integers(-1, len(contents) - 1)
        away = [m for m in range(len(models)) if m not in resident] if parks else []
        parked = {
            m: tuple(draw(st.lists(held, min_size=sequences, max_size=sequences))) for m in away
        }
        blocks = draw(st.booleans())
        free_in = tuple(draw(st.lists(_seconds(), min_size=1, max_size=3)))
        uses, begins = draw(_running_calls(free_in, list(resident), sequences))
        boxes.append(
            Box(
                cache=draw(st.sampled_from([50, 150, 1000])) if blocks else 0,
                cached=tuple(draw(_contents(len(models)))) if blocks else (),
                parks=parks,
                copy_s=draw(st.sampled_from([np.inf, 0.0, 1e-4])),
                parked=parked,
                free_in=free_in,
                uses=uses,
                begins=begins,
                settled_in=draw(st.dictionaries(st.integers(0, len(models) - 1), _seconds())),
                resident=resident,
                pinned=tuple(m for m in resident if draw(st.integers(0, 9)) == 0),
                memory=memory,
                sequences=sequences,
                speed=draw(st.sampled_from([1.0, 1.0, 3.0])),
            )
        )
    return boxes


@st.composite
def snapshots(draw: st.DrawFn, max_ready: int = 8, max_waiting: int = 6) -> Snapshot:
    """Draw valid snapshots: empty frontiers, one device, several slots, ties, models too large."""
    models = [
        Kind(
            bytes=draw(st.sampled_from([30, 60, 100, 5000])),
            load_s=draw(_seconds()),
            unload_s=draw(_seconds()),
            prefill_s=draw(st.sampled_from([0.0, 0.001, 0.01])),
            decode_s=draw(st.sampled_from([0.0, 0.01, 0.1])),
            depth_s=draw(st.sampled_from([0.0, 0.0, 1e-5])),
            fixed_s=draw(st.sampled_from([0.0, 0.02])),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    contents = draw(_contents(len(models)))
    count, later = draw(st.integers(0, max_ready)), draw(st.integers(0, max_waiting))
    total = count + later
    ready = draw(_nodes(len(models), 0, count, total, waiting=False))
    waiting = draw(_nodes(len(models), count, later, total, waiting=True))
    boxes = draw(_boxes(models, contents))
    for node in [*ready, *waiting]:
        limit = int(node.tokens)
        node.prompt = draw(_keys())
        if draw(st.booleans()):
            node.moved = tuple(float(draw(st.integers(0, limit - 1))) for _ in boxes)
            node.move_s = tuple(draw(_seconds()) for _ in boxes)
        node.left = draw(st.sampled_from(["", "", "a", "b"]))
        node.released_at_s = draw(st.sampled_from([0.0, 0.0, 20.0]))
    for box in boxes:
        busy = [
            draw(st.sampled_from([-1, *[n.instance for n in ready]])) if seconds > 0 else -1
            for seconds in box.free_in
        ]
        box.running = tuple(busy)
    return make_snapshot(
        ready,
        boxes,
        models,
        waiting,
        contents=contents,
        now_s=draw(st.sampled_from([0.0, 0.1, 17.3])),
        link_s=draw(st.sampled_from([0.0, 0.01])),
        seed=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
    )
