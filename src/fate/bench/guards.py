"""What must hold of every simulated run, whatever the policy: checked from its log alone.

A suite calls `check` after each run; a policy that wins by breaking a rule does not get into a
table. The log is read by `view.fold`, like every other figure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from fate.bench.case import Case
from fate.domain.graph import Stage, written_id
from fate.domain.messages import Call, Dropped, ItemDone, Planned, Record, Reuse, RunTool
from fate.drivers.setup import Outcome
from fate.view.fold import fold
from fate.view.history import HOST, Bar, History, StageSpan
from fate.view.memory import memory_steps

#: Sums of the same floats in another order may differ by this share.
_ROUNDING = 1e-9
_LOADER = ("load", "unload")


class GuardError(AssertionError):
    """A run did what cannot be: the simulator, the core or a bound is wrong."""


def check(
    case: Case, outcome: Outcome, *, at_least_s: float = 0.0, on_demand_s: float = 0.0
) -> History:
    """Check a run, and return its history.

    Args:
        case: what was run.
        outcome: how it went.
        at_least_s: no run of the case can be shorter [s].
        on_demand_s: nor one that loads models only when a call wants them [s], as the exact
            optimum does.

    Raises:
        GuardError: naming the rule that is broken, and where.
    """
    history = fold(case.cluster, outcome.records)
    least_s = at_least_s if _loads_ahead(case, outcome) else max(at_least_s, on_demand_s)
    _check_end(case, outcome, history, least_s)
    _check_items(case, history, outcome.records)
    _check_order(case, history)
    _check_slots(case, outcome, history)
    _check_memory(case, history)
    _check_undisturbed(case, history)
    return history


def _loads_ahead(case: Case, outcome: Outcome) -> bool:
    """Whether models may have been loaded before a call wanted them: the core did, or a plan."""
    return case.options.prefetch or any(
        isinstance(event, Planned) and event.plan.prefetch
        for record in outcome.records
        for event in record.events
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise GuardError(what)


def _check_end(case: Case, outcome: Outcome, history: History, at_least_s: float) -> None:
    """Every workflow came when it should and ended; no run is shorter than any can be."""
    arrived = {graph.id: at_s for at_s, graph in case.arrivals}
    spans = {span.id: span for span in history.workflows}
    _require(set(spans) == set(arrived), f"workflows {sorted(set(spans) ^ set(arrived))} differ")
    for name, at_s in arrived.items():
        span = spans[name]
        _require(span.start_s == at_s, f"{name} came at {span.start_s} s, not at {at_s} s")
        _require(span.end_s is not None, f"{name} never ended")
    last_s = max((span.end_s or 0.0 for span in spans.values()), default=0.0)
    _require(outcome.makespan_s == last_s, f"the last end is {last_s} s, not {outcome.makespan_s}")
    floor_s = at_least_s * (1.0 - _ROUNDING)
    _require(history.makespan_s >= floor_s, f"{history.makespan_s} s is below {at_least_s} s")


def _check_items(case: Case, history: History, records: Sequence[Record]) -> None:
    """Each item of a stage that is done was finished once: run, reused, or given up.

    A stage is left undone only where another one did not wait for all it could have waited for.
    """
    finished = _finished(records)
    for (instance, item), times in finished.items():
        _require(times == 1, f"{instance}[{item}] was finished {times} times")
    of_instance = Counter(instance for instance, _ in finished)
    well = {span.id for span in history.workflows if span.status == "ok"}
    patient = {graph.id for _, graph in case.arrivals if not _joins(graph.stages)}
    for stage in history.stages:
        if stage.workflow not in well or stage.kind == "group":
            continue
        ended = stage.end_s is not None or stage.workflow not in patient
        _require(ended, f"{stage.instance} has no end, yet its workflow has")
        if stage.status == "done":
            found = of_instance[stage.instance]
            _require(found == stage.items, f"{stage.instance}: {found} of {stage.items} items")


def _finished(records: Sequence[Record]) -> Counter[tuple[str, int]]:
    """Count how often each item was finished."""
    finished, works_on = Counter[tuple[str, int]](), dict[int, str]()
    for record in records:
        for event in record.events:
            if isinstance(event, ItemDone) and event.activity in works_on:
                finished[works_on[event.activity], event.item] += 1
        for command in record.commands:
            match command:
                case Call() | RunTool():
                    works_on[command.activity] = command.chunk.instance
                case Reuse() | Dropped():
                    finished[command.instance, command.item] += 1
                case _:
                    pass
    return finished


def _check_order(case: Case, history: History) -> None:
    """Nothing begins before its workflow has come, nor before what it starts from has ended."""
    stages = {stage.instance: stage for stage in history.stages}
    arrived = {span.id: span.start_s for span in history.workflows}
    joins = {graph.id: _joins(graph.stages) for _, graph in case.arrivals}
    ran = {bar.instance for bar in history.bars if bar.stop > bar.start and bar.outcome == "done"}
    for bar in history.bars:
        if bar.kind not in ("call", "tool"):
            continue
        came_s = arrived[bar.workflow]
        _require(bar.start_s >= came_s, f"{bar.instance} begins before its workflow comes")
        stage = stages[bar.instance]
        needed = joins[bar.workflow].get(written_id(stage.stage), len(stage.needs))
        ended = sum(_ended(stages[need], bar.start_s, ran) for need in stage.needs)
        _require(
            ended >= min(needed, len(stage.needs)),
            f"{bar.instance} begins at {bar.start_s} s with {ended} of {needed} parents done",
        )


def _ended(stage: StageSpan, at_s: float, ran: set[str]) -> bool:
    """Whether a stage was over by then; one that ran all the same was not skipped before."""
    skipped = stage.status == "skipped" and stage.instance not in ran
    return stage.end_s is not None and stage.end_s <= at_s and (stage.status == "done" or skipped)


def _joins(stages: Iterable[Stage], around: int | None = None) -> dict[str, int]:
    """Return how many parents must be done of each stage that waits for some of them only.

    A stage without parents inside of a group waits for what the group does, `around`. Groups among
    the parents are seen through, so that the number says nothing: 0.
    """
    found: dict[str, int] = {}
    known = {stage.id: stage for stage in stages}
    for stage in known.values():
        join = around if not stage.parents else None
        if stage.join:
            groups = any(known[parent].kind == "group" for parent in stage.parents)
            join = 0 if groups else stage.join
        if join is not None:
            found[stage.id] = join
        inner = _joins(stage.body, join)
        found.update({f"{stage.id}.{name}": needed for name, needed in inner.items()})
    return found


def _check_slots(case: Case, outcome: Outcome, history: History) -> None:
    """No more at once than there are slots; one load or unload at a time; no time is made."""
    slots = {device.id: device.slots for device in case.cluster.devices}
    slots[HOST] = case.cluster.tool_slots
    at_work = defaultdict[str, list[Bar]](list)
    for bar in history.bars:
        most = 1 if bar.kind in _LOADER else slots[bar.device]
        _require(
            bar.kind == "move" or bar.row < most,
            f"{bar.device}: {bar.row + 1} at once of {bar.kind} with {bar.instance} at "
            f"{bar.start_s} s",
        )
        # A load whose call was given up runs to its end, if need be after all workflows' ends.
        late = bar.end_s > history.end_s and bar.kind not in _LOADER
        _require(not late or bar.outcome != "done", f"{bar} ends after the end")
        at_work[bar.device].append(bar)
    if not _chains_only(case, outcome, history):
        return
    for device, bars in at_work.items():
        together, where_s = _most_at_once(bars)
        _require(
            together <= slots[device], f"{device}: {together} activities at once at {where_s} s"
        )
        busy_s = sum(max(min(bar.end_s, history.end_s) - bar.start_s, 0.0) for bar in bars)
        span_s = slots[device] * history.makespan_s
        _require(busy_s <= span_s * (1.0 + _ROUNDING), f"{device}: {busy_s} s busy in {span_s} s")


def _chains_only(case: Case, outcome: Outcome, history: History) -> bool:
    """Whether all that ran was part of a chain: loads made for nobody take no compute slot."""
    return not _loads_ahead(case, outcome) and all(bar.outcome == "done" for bar in history.bars)


def _most_at_once(bars: Sequence[Bar]) -> tuple[int, float]:
    """Return how many bars lie over each other at most, and when they first do."""
    steps = sorted(
        [(bar.start_s, 1) for bar in bars if bar.end_s > bar.start_s]
        + [(bar.end_s, -1) for bar in bars if bar.end_s > bar.start_s]
    )
    depths = list(accumulate(change for _, change in steps))
    if not depths:
        return 0, 0.0
    most = max(depths)
    return most, steps[depths.index(most)][0]


def _check_memory(case: Case, history: History) -> None:
    """What a device holds fits into its memory at every moment; no prompt is reused twice over."""
    for device, steps in memory_steps(case.cluster, history).items():
        _require(steps.most <= steps.budget, f"{device} held {steps.most} of {steps.budget} bytes")
    budget = {d.id: d.cache_tokens for d in case.cluster.devices if d.prefix == "blocks"}
    for bar in history.bars:
        most = min(
            bar.prompt_tokens, budget.get(bar.device, bar.prompt_tokens) * (bar.stop - bar.start)
        )
        _require(
            0 <= bar.cached_tokens <= most,
            f"{bar.instance}: {bar.cached_tokens} tokens cached, at most {most} can be",
        )


def _check_undisturbed(case: Case, history: History) -> None:
    """Where nothing can fail, nothing fails, and no device is put aside."""
    if case.truth.failure_rate or case.truth.refusal_rate:
        return
    counts = history.counts
    _require(not counts.failed_attempts, f"{counts.failed_attempts} attempts failed")
    _require(not counts.drains, f"devices were drained {counts.drains} times")
