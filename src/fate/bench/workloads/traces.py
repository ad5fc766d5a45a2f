"""Traces as workflows: calls with waits between them, prompts that share the blocks they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from fate.bench.case import Case
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import Arrival, models_of
from fate.bench.workloads.lengths import generator
from fate.bench.workloads.rigs import Setting, rig
from fate.bench.workloads.trace_files import Dependence, Request, Session, read_trace
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Segment, Stage, item_key
from fate.domain.graph import Path as Prompt

#: What the system that was traced took for an answer [s per token]: waits between requests hold
#: its service too.
TRACED_TOKEN_S = 0.03
#: Waits are cut here [s]: who comes back after minutes starts anew.
LONGEST_WAIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a trace runs, and how.

    Attributes:
        count: sessions that arrive one after the other.
        turns: requests of a session that are taken at most.
        context_tokens: requests with longer prompts end their session.
        speed: arrivals and waits are this many times quicker.
        models: kind of a session -> model; the kind `rows` is drawn from `row_models`.
        row_models: models of the sessions that are rows.
    """

    count: int = 40
    turns: int = 12
    context_tokens: int = 30_000
    speed: float = 1.0
    models: Mapping[str, str]
    row_models: tuple[str, ...]


#: Agents by what they do: desk work of several roles, code, dialogues with tools.
AGENT_MODELS = {"magagent": "qwen3-14b", "miniswe": "qwen3-32b-awq", "taubench": "llama-8b"}
ROW_MODELS = ("llama-8b", "qwen3-14b")


def trace(
    seed: int = 0,
    count: int = 40,
    path: str = "",
    dependence: Dependence = "shown",
    speed: float = 1.0,
) -> list[Arrival]:
    """Sessions of a trace: Mooncake's rows, or agents with their tools, from a file of the user's.

    Args:
        seed: draws where in the file the window of sessions begins, and models of rows.
        count: sessions in the window.
        path: the file.
        dependence: of agents' calls: as texts show it, or in sequence.
        speed: arrivals and waits are this many times quicker.
    """
    if not path:
        raise FateError("trace: give a file of rows or sessions, --trace FILE")
    window = Window(count=count, speed=speed, models=AGENT_MODELS, row_models=ROW_MODELS)
    return trace_workflows(read_trace(Path(path), dependence), seed, window)


def trace_workflows(sessions: Sequence[Session], seed: int, window: Window) -> list[Arrival]:
    """Return the sessions of a window that begins where the seed says, the first at 0 s."""
    draw = generator("trace", seed)
    start = draw.randrange(max(len(sessions) - window.count, 0) + 1)
    taken = [_cut(each, window) for each in sessions[start : start + window.count]]
    taken = [session for session in taken if session.requests]
    if not taken:
        raise FateError(f"trace: every prompt is longer than {window.context_tokens} tokens")
    texts = _texts([request for session in taken for request in session.requests])
    mean = _Means.of(taken, window.speed)
    arrivals: list[Arrival] = []
    for session in taken:
        model = window.models.get(session.kind) or draw.choice(window.row_models)
        at_s = (session.at_s - taken[0].at_s) / window.speed
        arrivals.append(_workflow(session, model, texts, mean).at(at_s))
    return arrivals


def _cut(session: Session, window: Window) -> Session:
    """Keep the first requests, up to one whose context is too long."""
    kept: list[Request] = []
    total = 0
    for request in session.requests[: window.turns]:
        total = (total if request.adds else 0) + request.prompt_tokens + request.output_tokens
        if total > window.context_tokens:
            break
        kept.append(request)
    return Session(id=session.id, kind=session.kind, at_s=session.at_s, requests=tuple(kept))


@dataclass(frozen=True, slots=True)
class _Means:
    """What is expected of every request of a kind: output tokens and waits, at a speed."""

    speed: float
    output: Mapping[str, float]
    wait_s: Mapping[str, float]

    @classmethod
    def of(cls, sessions: Sequence[Session], speed: float) -> "_Means":
        outputs: dict[str, list[float]] = {}
        waits: dict[str, list[float]] = {}
        for session in sessions:
            for request in session.requests:
                outputs.setdefault(session.kind, []).append(float(request.output_tokens))
                if request.parents:
                    waits.setdefault(session.kind, []).append(_wait_s(session, request) / speed)
        return cls(
            speed,
            {kind: fmean(values) for kind, values in outputs.items()},
            {kind: fmean(values) for kind, values in waits.items()},
        )


def _wait_s(session: Session, request: Request) -> float:
    """Return the pause between a request and the last one it depends on, less that one's answer."""
    if request.wait_s is not None:
        return min(request.wait_s, LONGEST_WAIT_S)
    last = session.requests[max(request.parents)]
    pause_s = request.at_s - last.at_s - TRACED_TOKEN_S * last.output_tokens
    return min(max(pause_s, 0.0), LONGEST_WAIT_S)


def _texts(requests: Sequence[Request]) -> dict[int, Prompt]:
    """Return the prompt of each request (by identity), runs of blocks nobody leaves made one.

    Prompts share exactly the blocks they share in the trace; paths stay short.
    """
    nodes: dict[tuple[int, int], int] = {}
    ways: list[list[int]] = []
    for request in requests:
        at, way = -1, list[int]()
        for block in request.blocks if not request.adds else ():
            at = nodes.setdefault((at, block), len(nodes))
            way.append(at)
        ways.append(way)
    follow: dict[int, set[int]] = {}
    ends = {way[-1] for way in ways if way}
    for way in ways:
        for node, after in pairwise(way):
            follow.setdefault(node, set()).add(after)
    stops = ends | {node for node, after in follow.items() if len(after) > 1}
    return {id(r): _segments(r, way, stops) for r, way in zip(requests, ways, strict=True)}


def _segments(request: Request, way: Sequence[int], stops: set[int]) -> Prompt:
    segments: list[Segment] = []
    tokens = done = 0
    for place, node in enumerate(way):
        last = place == len(way) - 1
        size = request.prompt_tokens - done if last else request.block_tokens
        size = max(min(size, request.prompt_tokens - done), 0)
        tokens, done = tokens + size, done + size
        if (node in stops or last) and tokens:
            segments.append(Segment(f"block:{node}", tokens))
            tokens = 0
    return tuple(segments)


def _workflow(session: Session, model: str, texts: Mapping[int, Prompt], mean: _Means) -> Arrival:
    """Return a session: a call for each request, a tool for each wait."""
    declared, actual = list[Stage](), list[Stage]()
    prompts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for k, request in enumerate(session.requests):
        expected = max(round(mean.output[session.kind]), 1)
        outputs = (expected, request.output_tokens)
        parents = tuple([f"call{parent}" for parent in request.parents])
        if request.parents:
            waits = mean.wait_s[session.kind], _wait_s(session, request) / mean.speed
            for stages, wait_s in zip((declared, actual), waits, strict=True):
                stages.append(Stage(id=f"wait{k}", kind="tool", parents=parents, tool_s=wait_s))
            parents = (f"wait{k}",)
        for which, stages in enumerate((declared, actual)):
            prompt = _prompt(session, k, texts[id(request)], prompts[which], stages)
            prompts[which].append(prompt)
            stages.append(
                Stage(
                    id=f"call{k}",
                    kind="llm",
                    model=model,
                    parents=parents,
                    prompt=prompt,
                    output_tokens=float(outputs[which]),
                    max_tokens=max(*outputs, 1024),
                )
            )
    graphs = [Graph(id=session.id, stages=tuple(stages)) for stages in (declared, actual)]
    return Arrival(declared=graphs[0], actual=graphs[1])


def _prompt(
    session: Session, k: int, text: Prompt, before: Sequence[Prompt], stages: Sequence[Stage]
) -> Prompt:
    """Return a request's prompt: blocks, or its parent's context and what is new."""
    request = session.requests[k]
    own = Segment(f"text:{session.id}/call{k}", max(request.prompt_tokens, 1))
    if not request.parents:
        return text or (own,)
    parent = request.parents[-1]
    answered = next(stage for stage in stages if stage.id == f"call{parent}")
    answer = Segment(item_key(f"{session.id}/call{parent}", 0), int(answered.output_tokens))
    if request.adds:
        return (*before[parent], answer, own)
    last = session.requests[parent]
    more = request.prompt_tokens - last.prompt_tokens - last.output_tokens
    full = last.blocks[:-1]
    if full and request.blocks[: len(full)] == full and more > 0:
        key = text[-1].key if text else own.key
        return (*before[parent], answer, Segment(key, more))
    return text or (own,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCell:
    """A trace's window on a rig."""

    window: Window
    gpus: str

    def case(self, sessions: Sequence[Session], seed: int) -> Case:
        """Return the case of a seed: arrivals as in the trace."""
        arrivals = trace_workflows(sessions, seed, self.window)
        setting = Setting(prompt=6000.0, output=200.0)
        return make_case(arrivals, rig(self.gpus, models_of(arrivals), setting), seed)


def _played(gpus: str, count: int, speed: float) -> TraceCell:
    window = Window(count=count, speed=speed, models=AGENT_MODELS, row_models=ROW_MODELS)
    return TraceCell(window=window, gpus=gpus)


#: Run on any trace that is given. People's pauses are long: at ten times the speed devices are
#: busy. `-as-is` keeps the trace's time.
TRACE_CELLS: dict[str, TraceCell] = {
    "mixed-4": _played("mixed-4", 24, 10.0),
    "mild": _played("mild", 40, 10.0),
    "mild-as-is": _played("mild", 40, 1.0),
}
