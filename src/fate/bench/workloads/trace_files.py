"""Reads traces of LLM traffic: rows in Mooncake's format, and sessions of agents.

A row is one request: `timestamp` [ms], `input_length`, `output_length`, `hash_ids` (one id for
each block of 512 prompt tokens; equal ids mean equal prompts up to there). Rows with a
`session_id` are the turns of a session: lengths and blocks are those that a turn adds, `delay`
[ms] is the wait before it. Source: Mooncake (kvcache-ai/Mooncake, FAST'25) and aiperf
(ai-dynamo/aiperf).

A session of an agent is one object: `session`, `agent`, `calls`, each with `t_ms`,
`prompt_tokens`, `output_tokens`, `parents` (earlier calls), `hash_ids` of blocks of 64 tokens.
Source: LMCache's agent traces, converted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fate.domain.errors import FateError

ROW_BLOCK_TOKENS, CALL_BLOCK_TOKENS = 512, 64

#: How calls of an agent depend on each other: as the texts show, or each on the one before.
Dependence: TypeAlias = Literal["shown", "sequence"]


class TraceError(FateError):
    """A trace cannot be used."""

    code = "bad-trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a trace.

    Attributes:
        at_s: when it came, from the start of its file or session.
        prompt_tokens, output_tokens: lengths; the prompt is the whole one.
        blocks: ids of the prompt's blocks.
        block_tokens: tokens of a block.
        parents: places of earlier requests in its session.
        adds: the prompt goes on from the last parent's, and lengths and blocks are of what is new.
        wait_s: pause before it where the trace says so.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    block_tokens: int
    parents: tuple[int, ...] = ()
    adds: bool = False
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Requests that belong together, and when the first came [s]."""

    id: str
    kind: str
    at_s: float
    requests: tuple[Request, ...]


def read_trace(path: Path, dependence: Dependence = "shown", limit: int = 0) -> list[Session]:
    """Read a trace.

    Args:
        path: JSON lines, rows or sessions.
        dependence: of an agent's calls.
        limit: rows or sessions to read at most; 0 reads all.

    Returns:
        The sessions in order of arrival.

    Raises:
        TraceError: the file is no usable trace; says which line and why.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    if limit:
        lines = lines[:limit]
    rows: list[tuple[str, Request]] = []
    sessions: list[Session] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data: Any = json.loads(line)
            if "calls" in data:
                sessions.append(_agent_session(data, dependence, len(sessions)))
            else:
                rows.append((str(data.get("session_id", "")), _row(data)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise TraceError(
                f"{path}, line {number}: neither a row nor a session: {reason}"
            ) from None
    found = [*_row_sessions(rows), *sessions]
    if not found:
        raise TraceError(f"{path}: no requests in it")
    return sorted(found, key=lambda session: session.at_s)


def _row(data: Mapping[str, Any]) -> Request:
    blocks, prompt = tuple(map(int, data["hash_ids"])), int(data["input_length"])
    if prompt < 1 or int(data["output_length"]) < 0 or float(data.get("timestamp", 0.0)) < 0:
        raise ValueError("lengths and times must not be negative, prompts not empty")
    if not blocks:
        raise ValueError("hash_ids must name at least one block")
    return Request(
        at_s=float(data.get("timestamp", 0.0)) / 1e3,
        prompt_tokens=prompt,
        output_tokens=max(int(data["output_length"]), 1),
        blocks=blocks,
        block_tokens=ROW_BLOCK_TOKENS,
        adds="session_id" in data,
        wait_s=float(data["delay"]) / 1e3 if "delay" in data else None,
    )


def _row_sessions(rows: Sequence[tuple[str, Request]]) -> list[Session]:
    """Group rows by their session, or by whose prompt they go on from."""
    named: dict[str, list[Request]] = {}
    loose: list[Request] = []
    for session, request in rows:
        if session:
            named.setdefault(session, []).append(request)
        else:
            loose.append(request)
    chains = [
        Session(id=name, kind="rows", at_s=turns[0].at_s, requests=_chained(turns))
        for name, turns in named.items()
    ]
    return [*chains, *_continued(sorted(loose, key=lambda request: request.at_s))]


def _chained(turns: Sequence[Request]) -> tuple[Request, ...]:
    return tuple([_with_parents(turn, (k - 1,) if k else ()) for k, turn in enumerate(turns)])


def _continued(rows: Sequence[Request]) -> list[Session]:
    """Make sessions of rows that contain all full blocks of an earlier one, beyond the first.

    A conversation's next prompt contains its last one. The first block is left out: it is the
    system text that all share.
    """
    ends: dict[tuple[int, int], tuple[int, int]] = {}  # (blocks, last full one) -> place
    made: list[list[Request]] = []
    for row in rows:
        place = None
        for length in range(len(row.blocks) - 1, 1, -1):
            place = ends.get((length, row.blocks[length - 1]))
            if place is not None:
                break
        if place is None:
            place = (len(made), -1)
            made.append([])
        session = made[place[0]]
        session.append(_with_parents(row, (place[1],) if place[1] >= 0 else ()))
        full = len(row.blocks) - 1
        ends[full, row.blocks[full - 1] if full else -1] = (place[0], len(session) - 1)
    return [
        Session(id=f"row{number}", kind="rows", at_s=turns[0].at_s, requests=tuple(turns))
        for number, turns in enumerate(made)
    ]


def _with_parents(request: Request, parents: tuple[int, ...]) -> Request:
    return Request(
        at_s=request.at_s,
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        blocks=request.blocks,
        block_tokens=request.block_tokens,
        parents=parents,
        adds=request.adds and bool(parents),
        wait_s=request.wait_s if parents else None,
    )


def _agent_session(data: Mapping[str, Any], dependence: Dependence, number: int) -> Session:
    requests: list[Request] = []
    for k, call in enumerate(data["calls"]):
        before = call["parents"] if dependence == "shown" else [k - 1] if k else []
        parents = tuple(map(int, before))
        if any(not 0 <= parent < k for parent in parents):
            raise ValueError(f"call {k} names a parent that is not before it")
        requests.append(
            Request(
                at_s=float(call["t_ms"]) / 1e3,
                prompt_tokens=max(int(call["prompt_tokens"]), 1),
                output_tokens=max(int(call["output_tokens"]), 1),
                blocks=tuple(map(int, call["hash_ids"])),
                block_tokens=CALL_BLOCK_TOKENS,
                parents=parents,
            )
        )
    if not requests:
        raise ValueError("a session without calls")
    return Session(
        id=f"session{number}", kind=str(data["agent"]), at_s=0.0, requests=tuple(requests)
    )
