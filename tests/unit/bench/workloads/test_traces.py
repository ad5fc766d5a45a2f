"""Traces as workflows: readers, sessions, shared blocks, waits."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fate.bench.case import run_case
from fate.bench.guards import check
from fate.bench.workloads.trace_files import TraceError, read_trace
from fate.bench.workloads.traces import (
    LONGEST_WAIT_S,
    ROW_MODELS,
    TRACE_CELLS,
    Window,
    trace,
    trace_workflows,
)
from fate.domain.errors import FateError
from fate.domain.graph import path_tokens, shared_tokens
from fate.registry import build

_SHARED = Path(__file__).parents[5] / "shared" / "data" / "traces"

#: Everything on one model, so that what is shared is only a matter of blocks.
ONE = Window(models={"agent": "llama-8b"}, row_models=("llama-8b",))


def row(timestamp: int, tokens: int, output: int, *blocks: int, **more: Any) -> dict[str, Any]:
    """A row in Mooncake's format."""
    lengths = {"input_length": tokens, "output_length": output}
    return {"timestamp": timestamp, **lengths, "hash_ids": blocks, **more}


def call(t_ms: float, tokens: int, output: int, parents: list[int], *blocks: int) -> dict[str, Any]:
    """A call of an agent's session."""
    return {
        "t_ms": t_ms,
        "prompt_tokens": tokens,
        "output_tokens": output,
        "parents": parents,
        "hash_ids": blocks,
    }


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write lines to a file and return its path."""

    def write(*lines: dict[str, Any] | str) -> Path:
        path = tmp_path / "trace.jsonl"
        text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    return write


def test_a_conversation_goes_on(file: Any) -> None:
    """A row that contains an earlier one's full blocks is its next turn; others start anew."""
    path = file(
        row(0, 1100, 50, 0, 1, 2),
        row(9000, 1100, 70, 0, 7, 8),
        row(30_000, 1700, 60, 0, 1, 3, 4),
        row(70_000, 2200, 10, 0, 1, 3, 5, 6),
    )
    sessions = read_trace(path)
    assert [[r.parents for r in s.requests] for s in sessions] == [[(), (0,), (1,)], [()]]
    first = trace_workflows(sessions, 0, ONE)[0]
    assert [s.id for s in first.actual.stages] == ["call0", "wait1", "call1", "wait2", "call2"]
    waits = [s.tool_s for s in first.actual.stages if s.kind == "tool"]
    assert waits == [pytest.approx(30 - 50 * 0.03), pytest.approx(40 - 60 * 0.03)]
    assert {s.tool_s for s in first.declared.stages if s.kind == "tool"} == {sum(waits) / 2}
    turns = [s for s in first.actual.stages if s.kind == "llm"]
    assert [path_tokens(s.prompt) for s in turns] == [1100, 1700, 2200]
    assert shared_tokens(turns[1].prompt, turns[0].prompt) == 1100


def test_speed(file: Any) -> None:
    """Arrivals and waits are quicker, expected ones too."""
    path = file(
        row(0, 1100, 50, 0, 1, 2),
        row(9000, 600, 70, 0, 7),
        row(30_000, 1700, 60, 0, 1, 3, 4),
    )
    quick = dataclasses.replace(ONE, speed=10.0)
    played, real = (trace_workflows(read_trace(path), 0, window) for window in (quick, ONE))
    assert [arrival.at_s for arrival in played] == [0.0, 0.9]
    for which in ("declared", "actual"):
        waits = [getattr(each[0], which).stages[1].tool_s for each in (played, real)]
        assert waits[1] == pytest.approx(28.5) == 10 * waits[0]


def test_blocks_are_shared_as_in_the_trace(file: Any) -> None:
    """Runs of blocks become one segment; two prompts share what their blocks share."""
    path = file(
        row(0, 2048 + 10, 5, 0, 1, 2, 3, 90),
        row(1, 1536 + 20, 5, 0, 1, 2, 91),
        row(2, 512 + 30, 5, 0, 92),
    )
    arrivals = trace_workflows(read_trace(path), 0, ONE)
    prompts = [arrival.declared.stages[0].prompt for arrival in arrivals]
    assert [[s.tokens for s in prompt] for prompt in prompts] == [
        [512, 1024, 522],
        [512, 1024, 20],
        [512, 30],
    ]
    assert shared_tokens(prompts[0], prompts[1]) == 1536
    assert shared_tokens(prompts[0], prompts[2]) == 512
    assert [arrival.at_s for arrival in arrivals] == [0.0, 0.001, 0.002]


def test_sessions_by_name_add_turns(file: Any) -> None:
    """Lengths are what a turn adds, `delay` is the wait; the context goes on."""
    path = file(
        row(5000, 600, 40, 1, 2, session_id="x"),
        row(0, 100, 20, 3, session_id="x", delay=1500),
    )
    (arrival,) = trace_workflows(read_trace(path), 0, ONE)
    first, wait, second = arrival.actual.stages
    assert wait.tool_s == 1.5
    assert [s.tokens for s in second.prompt] == [600, 40, 100]
    assert second.prompt[: len(first.prompt)] == first.prompt


def test_agents(file: Any) -> None:
    """Calls wait for the calls their texts show, or each for the one before."""
    calls = [
        call(0, 128, 10, [], 1, 2),
        call(2000, 300, 20, [0], 1, 2, 3, 4, 5),
        call(9000, 128, 30, [0], 1, 9),
    ]
    path = file({"agent": "agent", "session": "s", "calls": calls})
    shown = trace_workflows(read_trace(path), 0, ONE)[0].declared
    assert [s.parents for s in shown.stages if s.kind == "tool"] == [("call0",), ("call0",)]
    chained = trace_workflows(read_trace(path, "sequence"), 0, ONE)[0].declared
    assert [s.parents for s in chained.stages if s.kind == "tool"] == [("call0",), ("call1",)]
    first, second, third = [s for s in shown.stages if s.kind == "llm"]
    assert [s.key for s in second.prompt][-2].startswith("out:session0/call0")
    assert shared_tokens(third.prompt, first.prompt) == 64


def test_windows(file: Any) -> None:
    """The seed says where it begins; long prompts end a session, long waits are cut."""
    rows = [row(1000 * n, 600, 10, 10 * n, 10 * n + 1) for n in range(30)]
    early, late = row(0, 1100, 10, 500, 501, 502), row(900_000, 1700, 10, 500, 501, 503, 504)
    sessions = read_trace(file(*rows, row(0, 40_000, 10, *range(1000, 1079)), early, late))
    short = Window(count=5, models={}, row_models=ROW_MODELS, speed=2.0)
    starts = {trace_workflows(sessions, seed, short)[0].declared.id for seed in range(8)}
    assert len(starts) > 3
    arrivals = trace_workflows(sessions, 3, short)
    gaps = {b.at_s - a.at_s for a, b in pairwise(arrivals)}
    assert gaps <= {0.0, 0.5} and len(arrivals) >= 4
    whole = trace_workflows(sessions, 0, ONE)
    assert len(whole) == 31, "the long prompt is left out"
    assert [s.tool_s for a in whole for s in a.actual.stages if s.kind == "tool"] == [
        LONGEST_WAIT_S
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: neither a row nor a session: Expecting"),
        ({"timestamp": 0, "input_length": 5, "output_length": 1}, "line 2.*'hash_ids' is missing"),
        (row(0, 0, 1), "line 2.*prompts not empty"),
        (row(0, 5, 1), "line 2.*at least one block"),
        ({"agent": "a", "calls": [call(0, 5, 1, [0])]}, "line 2.*call 0 names a parent that is"),
        ({"agent": "a", "calls": []}, "line 2.*a session without calls"),
        ("[1]", "line 2: neither a row nor a session"),
    ],
)
def test_bad_files(file: Any, line: dict[str, Any] | str, says: str) -> None:
    """One line that says where, and what."""
    with pytest.raises(TraceError, match=says):
        read_trace(file(row(0, 5, 1, 0), line))


def test_no_file(tmp_path: Path, file: Any) -> None:
    """Absent, not given, empty."""
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "nothing")
    with pytest.raises(TraceError, match="no requests in it"):
        read_trace(file(""))
    with pytest.raises(FateError, match="--trace FILE"):
        trace(0, 1)
    with pytest.raises(FateError, match="every prompt is longer than 30000 tokens"):
        trace_workflows(read_trace(file(row(0, 40_000, 1, 0))), 0, ONE)


@pytest.mark.parametrize("name", ["mooncake_conversation_first75pct", "lmcache_agent_sessions"])
@pytest.mark.skipif(not _SHARED.is_dir(), reason="the traces lie on developers' machines")
def test_real_traces_run(name: str) -> None:
    """A window of a real one: sessions of several turns, run to the end and checked."""
    sessions = read_trace(_SHARED / f"{name}.jsonl")
    assert len(sessions) > 50 and max(len(s.requests) for s in sessions) >= 10
    window = Window(
        count=6, turns=4, models=TRACE_CELLS["mild"].window.models, row_models=ROW_MODELS
    )
    cell = type(TRACE_CELLS["mild"])(window=window, gpus="mild")
    case = cell.case(sessions, 1)
    check(case, run_case(case, build("policy", "late-eft")))
