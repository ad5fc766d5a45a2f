"""Small scenarios beside their reviewed decision logs.

A line of a log is a step of the core: what it heard, the plan if one came, what it had done. After
a change on purpose: `pytest tests/scenario --bless`, then review the diff like code.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.audit import Audit
from tests.graphs import chain, cluster, llm, map_reduce, profile

from fate.core.options import SchedulerOptions
from fate.domain.graph import Graph
from fate.domain.messages import (
    Call,
    Cancel,
    Event,
    Expand,
    Expanded,
    Failed,
    ItemDone,
    Load,
    LoggedCommand,
    Planned,
    Record,
    RunTool,
    Submitted,
    Unload,
    WakeAt,
    WorkflowEnded,
)
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.registry import build

if TYPE_CHECKING:
    from fate.policy.base import Policy

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What arrives when, on what, decided by whom."""

    setup: Setup
    arrivals: tuple[tuple[float, Graph], ...]
    failure_rate: float = 0.0

    def run(self) -> Outcome:
        """Simulate it."""
        truth = Truth(profile=self.setup.profile, failure_rate=self.failure_rate)
        return simulate(self.arrivals, self.setup, truth)


def setup_of(policy: str, devices: int = 2, seed: int = 0, **options: Any) -> Setup:
    """Devices of 70 MiB: any model, one at a time."""
    on = cluster(devices)
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=cast("Policy", build("policy", policy)),
        options=SchedulerOptions(**options),
        seed=seed,
    )


def one_switch() -> Case:
    """One device. Both calls of A run before A makes room for B: one eviction is enough."""
    graphs = (chain("v", "AB"), chain("w", "AB"))
    return Case(setup=setup_of("fate", devices=1), arrivals=tuple((0.0, g) for g in graphs))


def worth_waiting() -> Case:
    """d0 has C and is busy for 0.2 s more; a load of C takes 0.5 s: the second call waits for d0.

    The call of B that comes at the same time goes to d1.
    """
    first = Graph(id="u", stages=(llm("u", "s0", "C", own=60, out=64),))
    late = (chain("v", "C"), chain("w", "B"))
    arrivals = ((0.0, first), *((0.9, graph) for graph in late))
    return Case(setup=setup_of("fate"), arrivals=arrivals)


def map_with_failures() -> Case:
    """Two devices share a map of eight; attempts that fail half-way are finished elsewhere."""
    return Case(
        setup=setup_of("late-eft", seed=9, chunk_s=0.5),
        arrivals=((0.0, map_reduce("w", items=8)),),
        failure_rate=0.3,
    )


CASES: dict[str, Callable[[], Case]] = {
    "one_switch": one_switch,
    "worth_waiting": worth_waiting,
    "map_with_failures": map_with_failures,
}


@pytest.mark.parametrize("name", list(CASES))
def test_decisions_are_as_reviewed(name: str, bless: bool) -> None:
    """The simulator decides exactly as in the log beside this file."""
    case, golden = CASES[name](), HERE / f"{name}.decisions.jsonl"
    outcome = case.run()
    Audit(case.setup.cluster, [graph for _, graph in case.arrivals]).of(outcome.records)
    assert outcome.status == "ok"
    actual = [json.dumps(line) for record in outcome.records for line in readable(record)]
    if bless:
        golden.write_text("\n".join(actual) + "\n")
    assert actual == golden.read_text().splitlines(), (
        f"review, then: pytest tests/scenario --bless -k {name}"
    )


def test_every_log_has_its_case() -> None:
    """No golden file outlives its scenario."""
    assert {path.name for path in HERE.glob("*.jsonl")} == {
        f"{name}.decisions.jsonl" for name in CASES
    }


def readable(record: Record) -> list[dict[str, Any]]:
    """Return a step as its reviewer reads it; steps that only render prompts are left out."""
    if all(isinstance(part, Submitted | Expanded) for part in record.events):
        return []
    line: dict[str, Any] = {"at_s": round(record.at_s, 6)}
    heard = [text for event in record.events if (text := _heard(event))]
    plans = [event.plan for event in record.events if isinstance(event, Planned)]
    done = [text for command in record.commands if (text := _told(command))]
    if heard:
        line["heard"] = heard
    for plan in plans:
        line["plan"] = [[str(chunk) for chunk in order] for order in plan.orders]
    if done:
        line["do"] = done
    return [line] if heard or plans or done else []


def _heard(event: Event) -> str:
    match event:
        case ItemDone(activity=activity, item=item, cached_tokens=cached, prompt_tokens=prompt):
            return f"{activity}: item {item}, {cached} of {prompt} tokens cached"
        case Failed(activity=activity, reason=reason):
            return f"{activity}: failed, {reason}"
        case Submitted() | Expanded() | Planned():
            return ""
        case _:
            activity = getattr(event, "activity", "")
            return f"{activity}: {type(event).__name__.lower()}".removeprefix(": ")


def _told(command: LoggedCommand) -> str:
    match command:
        case Load(activity=activity, device=device, model=model):
            return f"{activity}: load {model} on {device}"
        case Unload(activity=activity, device=device, model=model):
            return f"{activity}: unload {model} from {device}"
        case Call(activity=activity, device=device, model=model, chunk=chunk, sequence=sequence):
            return f"{activity}: {chunk} on {device} with {model}, sequence {sequence}"
        case RunTool(activity=activity, chunk=chunk):
            return f"{activity}: {chunk} on the host"
        case WorkflowEnded(workflow=workflow, status=status):
            return f"{workflow} ends {status}"
        case Cancel(activity=activity):
            return f"{activity}: cancel"
        case Expand() | WakeAt():
            return ""
        case _:
            raise AssertionError(f"nobody gives {command}")
