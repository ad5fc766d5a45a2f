"""Every figure of a run's summary, once; for real and simulated runs alike."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec

from fate.domain.messages import WorkflowStatus
from fate.view.history import HOST, Bar, History, RunFacts

#: Uses of a compute slot, in the order in which they claim it: a load beside running calls costs
#: nothing that they do not, so it counts only as far as it finds a slot free.
Use: TypeAlias = Literal["prefill", "decode", "warm", "tool", "load", "unload", "move"]
USES: tuple[Use, ...] = ("prefill", "decode", "warm", "tool", "load", "unload", "move")


class Meters(msgspec.Struct, frozen=True, kw_only=True):
    """Wall readings, which the decision log leaves out: they would make it irreproducible.

    `planning_s` has the seconds of every plan, `scheduler_cpu_s` is the processor time of this
    process on `cores` cores, `expected_end` the predictions of the run's end: when each was made,
    and the end expected then [s of the run's clock].
    """

    planning_s: tuple[float, ...] = ()
    scheduler_cpu_s: float = 0.0
    cores: int = 1
    expected_end: tuple[tuple[float, float], ...] = ()


class StageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Stages by outcome; an open one is in `total` only."""

    total: int
    done: int
    failed: int
    skipped: int


class PlanningTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per plan, over `n` plans."""

    p50: float
    p99: float
    n: int


class DeviceTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Slot-seconds of a device by use; together they are makespan x slots."""

    load_s: float
    unload_s: float
    warm_s: float
    move_s: float
    prefill_s: float
    decode_s: float
    tool_s: float
    idle_s: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes: stable keys.

    `expected_end` are predictions made during the run: seconds since its start, and the makespan
    expected then. `prediction_error_at_half` is the relative error of the last one made before
    half of the makespan had passed.
    """

    status: WorkflowStatus
    simulated: bool
    policy: str
    seed: int
    makespan_s: float
    predicted_makespan_s: float | None
    expected_end: tuple[tuple[float, float], ...]
    prediction_error_at_half: float | None
    stages: StageCounts
    model_loads: int
    evictions: int
    prompt_tokens: int
    cached_tokens: int
    moved_bytes: int
    moves: int
    copies: int
    parked: int
    restored: int
    reused_items: int
    dropped_items: int
    failed_attempts: int
    device_losses: int
    drains: int
    interruptions: int
    planning_ms: PlanningTimes
    fallback_share: float
    scheduler_cpu_share: float
    devices: dict[str, DeviceTimes]
    engines: tuple[dict[str, Any], ...]
    outputs: dict[str, Any]
    timeline: str | None
    journal: str | None


def summary(
    facts: RunFacts,
    history: History,
    *,
    meters: Meters | None = None,
    outputs: Mapping[str, Any] | None = None,
    timeline: str | None = None,
    journal: str | None = None,
) -> Summary:
    """Return a run's figures.

    Args:
        facts: the run's header.
        history: what happened.
        meters: wall readings of the process that ran it; none in a replay.
        outputs: the declared outputs of the workflow.
        timeline: where the timeline is.
        journal: where the journal is.
    """
    meters, counts = meters or Meters(), history.counts
    span_s = history.makespan_s * meters.cores
    expected = expectations(facts, history, meters)
    return Summary(
        status=history.status,
        simulated=facts.simulated,
        policy=facts.policy,
        seed=facts.seed,
        makespan_s=history.makespan_s,
        predicted_makespan_s=facts.predicted_makespan_s,
        expected_end=expected,
        prediction_error_at_half=error_at_half(expected, history.makespan_s),
        stages=stage_counts(history),
        model_loads=counts.model_loads,
        evictions=counts.evictions,
        prompt_tokens=counts.prompt_tokens,
        cached_tokens=counts.cached_tokens,
        moved_bytes=counts.moved_bytes,
        moves=counts.moves,
        copies=counts.copies,
        parked=counts.parked,
        restored=counts.restored,
        reused_items=counts.reused,
        dropped_items=counts.dropped,
        failed_attempts=counts.failed_attempts,
        device_losses=counts.device_losses,
        drains=counts.drains,
        interruptions=counts.interruptions,
        planning_ms=_planning_ms(meters.planning_s),
        fallback_share=counts.fallback_calls / counts.calls if counts.calls else 0.0,
        scheduler_cpu_share=meters.scheduler_cpu_s / span_s if span_s > 0 else 0.0,
        devices=device_times(facts, history),
        engines=tuple(facts.engines),
        outputs=dict(outputs or {}),
        timeline=timeline,
        journal=journal,
    )


def expectations(
    facts: RunFacts, history: History, meters: Meters
) -> tuple[tuple[float, float], ...]:
    """Return every prediction of the makespan with its time since the start [s], first to last."""
    first = () if facts.predicted_makespan_s is None else ((0.0, facts.predicted_makespan_s),)
    start_s = history.start_s
    later = [(max(at_s - start_s, 0.0), end_s - start_s) for at_s, end_s in meters.expected_end]
    return (*first, *later)


def error_at_half(expected: Sequence[tuple[float, float]], makespan_s: float) -> float | None:
    """Return how far off the last prediction at half time was, as a share of the makespan."""
    known = [predicted_s for at_s, predicted_s in expected if at_s <= makespan_s / 2]
    return abs(known[-1] - makespan_s) / makespan_s if known and makespan_s > 0 else None


def stage_counts(history: History) -> StageCounts:
    """Count stages by outcome."""
    states = [stage.status for stage in history.stages]
    return StageCounts(
        total=len(states),
        done=states.count("done"),
        failed=states.count("failed"),
        skipped=states.count("skipped"),
    )


def device_times(facts: RunFacts, history: History) -> dict[str, DeviceTimes]:
    """Return what every device did with its slots; the host too, if tools ran."""
    bars: dict[str, list[Bar]] = defaultdict(list)
    for bar in history.bars:
        bars[bar.device].append(bar)
    slots = {device.id: device.slots for device in facts.cluster.devices}
    if HOST in bars:
        slots[HOST] = facts.cluster.tool_slots
    return {
        device: _times(bars[device], count, history.start_s, history.end_s)
        for device, count in slots.items()
    }


def _times(bars: Sequence[Bar], slots: int, start_s: float, end_s: float) -> DeviceTimes:
    """Sweep over the ends of all uses, giving slots to uses in the order of `USES`."""
    steps: list[tuple[float, Use, int]] = []
    for use, begin_s, stop_s in _uses(bars):
        begin_s, stop_s = max(begin_s, start_s), min(stop_s, end_s)
        if stop_s > begin_s:
            steps.append((begin_s, use, 1))
            steps.append((stop_s, use, -1))
    steps.sort()
    seconds, active = dict.fromkeys(USES, 0.0), dict.fromkeys(USES, 0)
    for (at_s, use, change), (until_s, _, _) in pairwise(steps):
        active[use] += change
        left = slots
        for name in USES:
            taken = min(left, active[name])
            left -= taken
            seconds[name] += taken * (until_s - at_s)
    idle_s = max(0.0, (end_s - start_s) * slots - sum(seconds.values()))
    return DeviceTimes(
        load_s=seconds["load"],
        unload_s=seconds["unload"],
        warm_s=seconds["warm"],
        move_s=seconds["move"],
        prefill_s=seconds["prefill"],
        decode_s=seconds["decode"],
        tool_s=seconds["tool"],
        idle_s=idle_s,
    )


def _uses(bars: Sequence[Bar]) -> Iterator[tuple[Use, float, float]]:
    for bar in bars:
        if bar.kind == "call":
            for part in bar.parts:
                yield part.kind, part.start_s, part.end_s
        else:
            yield bar.kind, bar.start_s, bar.end_s


def _planning_ms(seconds: Sequence[float]) -> PlanningTimes:
    ordered = sorted(seconds)
    return PlanningTimes(
        p50=1e3 * percentile(ordered, 0.50), p99=1e3 * percentile(ordered, 0.99), n=len(ordered)
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the sorted values do not exceed."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]
