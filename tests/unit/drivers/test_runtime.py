"""The runtime on fake engines: devices that go, engines that fail, stops, bugs, journal order."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec
import pytest
from tests.audit import Audit
from tests.by_hand import ByHand
from tests.declared import Bench, Log, Prefetching
from tests.graphs import chain, cluster, map_reduce, mixed, profile

from fate.core.options import SchedulerOptions
from fate.domain.catalog import Cluster
from fate.domain.graph import Graph, InstanceId
from fate.domain.messages import (
    Activity,
    Call,
    CancelAll,
    DeviceLost,
    DeviceReady,
    Expand,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    PlanFailed,
    Planned,
    Record,
    RunTool,
    Unload,
)
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.clock import WallClock
from fate.drivers.execute import Limits
from fate.drivers.replay import replay
from fate.drivers.run import Usage, WallPlanner
from fate.drivers.setup import Outcome, Setup
from fate.drivers.world import Truth
from fate.engines.base import EngineError
from fate.registry import BUILTIN, build

if TYPE_CHECKING:
    from fate.engines.fake import FakeEngine
    from fate.policy.base import Lookahead, Policy


def setup_of(on: Cluster | None = None, policy: str = "late-eft") -> Setup:
    """Two devices unless told otherwise, with the costs of `tests.graphs`."""
    on = on or cluster()
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=cast("Policy", build("policy", policy)),
        options=SchedulerOptions(chunk_s=0.5),
    )


class Trial:
    """A bench on which something is done once a certain command has been given."""

    def __init__(
        self,
        *graphs: Graph,
        on: Cluster | None = None,
        policy: str = "late-eft",
        **options: Any,
    ) -> None:
        self.graphs = graphs or tuple(mixed())
        setup = setup_of(on, policy)
        self.bench = Bench(setup, self.graphs, on_record=self._on_record, **options)
        self._when: list[tuple[Callable[[Activity], bool], float, Callable[[], Any]]] = []
        #: Length of the log when each of its records was shown.
        self.told: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    def once(
        self, kind: type[Activity], act: Callable[[], Any], *, device: str = "", after_s: float = 0
    ) -> None:
        """Do something some time after the first command of a kind, on a device or on any."""

        def fits(command: Activity) -> bool:
            where = "" if isinstance(command, RunTool) else command.device
            return isinstance(command, kind) and device in ("", where)

        self._when.append((fits, after_s, act))

    async def _all(self) -> Outcome:
        outcome = await self.bench.run()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"left behind: {others}"
        return outcome

    def run(self, status: str = "ok") -> Outcome:
        """Run to the end; the log is sound, complete and replays."""
        outcome = asyncio.run(self._all())
        records = self.bench.log.records
        assert self.bench.log.committed == len(records)
        audit = Audit(self.bench.setup.cluster, self.graphs).of(records)
        assert audit.ended == outcome.ended
        assert outcome.status == status, outcome.ended
        assert set(audit.done) == set(self.bench.outputs.texts)
        replay(records, self.bench.setup)
        return outcome

    def events(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind, in order."""
        return [e for r in self.bench.log.records for e in r.events if isinstance(e, kind)]

    def engine(self, device: str = "d0") -> "FakeEngine":
        """Return a device's engine."""
        return self.bench.engines[device]

    def _on_record(self, record: Record) -> None:
        log = self.bench.log
        self.told.append(len(log.records))
        if any(not isinstance(command, Expand) for command in record.commands):
            assert log.committed == len(log.records), "told before it is durable"
        for command in record.commands:
            for entry in [w for w in self._when if isinstance(command, Activity)]:
                if entry[0](cast("Activity", command)):
                    self._when.remove(entry)
                    self._tasks.append(asyncio.create_task(self._later(*entry[1:])))

    async def _later(self, after_s: float, act: Callable[[], Any]) -> None:
        await self.bench.clock.sleep(after_s)
        act()


# --- devices that go --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", sorted(BUILTIN["policy"]))
def test_the_only_device_is_restarted(policy: str) -> None:
    """While it is away no chunk can run anywhere; every policy bears that."""
    trial = Trial(on=cluster(devices=1), policy=policy)
    for after_s in (0.05, 0.8):
        trial.once(Call, trial.engine().lose, after_s=after_s)
    trial.run()
    assert len(trial.events(DeviceReady)) == 2
    assert trial.events(PlanFailed) == []


@pytest.mark.parametrize(("kind", "after_s"), [(Call, 0.05), (Load, 0.1), (Unload, 0.01)])
def test_a_lost_device_is_restarted(kind: type[Activity], after_s: float) -> None:
    """Whatever it was doing: the core hears of it once, the work is done all the same."""
    trial = Trial()
    trial.once(kind, trial.engine().lose, device="d0", after_s=after_s)
    trial.run()
    lost, ready = trial.events(DeviceLost), trial.events(DeviceReady)
    assert [(e.device, e.final) for e in lost] == [("d0", False)]
    assert [e.device for e in ready] == ["d0"]


def test_a_loss_with_several_things_under_way_is_told_once() -> None:
    """A call and a load that end together are one lost device."""
    trial = Trial(chain("w", "AB"), on=cluster(devices=1, memory_mib=100))
    trial.bench.planner.policy = Prefetching()
    trial.once(Call, trial.engine().lose, after_s=0.05)
    trial.run()
    begun = next(r for r in trial.bench.log.records if any(isinstance(c, Call) for c in r.commands))
    assert any(isinstance(command, Load) for command in begun.commands)
    assert len(trial.events(DeviceLost)) == 1


class Broken:
    """Restarts that fail, the first so many times."""

    def __init__(self, engine: "FakeEngine", times: int) -> None:
        self._restart, self._left = engine.restart, times
        engine.restart = self.restart
        self.tried = 0

    async def restart(self) -> None:
        """Fail, or come back."""
        self.tried += 1
        if self.tried <= self._left:
            raise EngineError("the port is taken")
        await self._restart()


def test_a_restart_is_tried_several_times() -> None:
    """The third one helps."""
    trial = Trial()
    broken = Broken(trial.engine(), 2)
    trial.once(Call, trial.engine().lose, device="d0", after_s=0.05)
    trial.run()
    assert broken.tried == 3
    assert len(trial.events(DeviceReady)) == 1


@pytest.mark.parametrize("policy", sorted(BUILTIN["policy"]))
def test_a_device_that_does_not_come_back_is_given_up(policy: str) -> None:
    """The other one does everything from then on, whoever plans."""
    trial = Trial(policy=policy)
    Broken(trial.engine(), 99)
    trial.once(Call, trial.engine().lose, device="d0", after_s=0.05)
    trial.run()
    lost = trial.events(DeviceLost)
    assert [e.final for e in lost] == [False, True]
    assert lost[1].reason == "the port is taken"
    assert trial.events(PlanFailed) == []


def test_workflows_fail_when_the_last_device_is_given_up() -> None:
    """And say why; nobody waits for ever."""
    trial = Trial(chain("w", "AB"), on=cluster(devices=1))
    Broken(trial.engine(), 99)
    trial.once(Call, trial.engine().lose, after_s=0.05)
    outcome = trial.run("failed")
    assert outcome.ended["w"].reason == "w/s0: every device that can run 'A' is lost"


# --- engines that fail ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_a_failed_activity_is_tried_again(count: int) -> None:
    """The first load, then perhaps the first call, raise; the workflow notices nothing."""
    trial = Trial()
    for _ in range(count):
        trial.engine().fail_next(EngineError("CUDA is not the word"))
    trial.run()
    assert [e.reason for e in trial.events(Failed)] == ["CUDA is not the word"] * count


def test_an_engine_that_rules_out_a_retry_is_believed() -> None:
    """One attempt, one reason."""
    trial = Trial(chain("w", "A"), on=cluster(devices=1))
    refusal = EngineError("the prompt is too long", retryable=False)
    trial.once(Load, lambda: trial.engine().fail_next(refusal), after_s=0.1)
    outcome = trial.run("failed")
    assert outcome.ended["w"].reason == "w/s0: call on d0 failed: the prompt is too long"


NONSENSE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"prefill_s": -1.0}, "a prefill of -1.0 seconds"),
    ({"cached_tokens": 10_000}, "10000 tokens cached of a prompt of"),
    ({"output_tokens": 33}, "33 tokens where at most 32 were asked for"),
    ({"prompt_tokens": -1}, "a negative number of tokens"),
    ({"decode_s": float("inf")}, "a decode of inf seconds"),
    ({"decode_s": float("nan")}, "a decode of nan seconds"),
)


@pytest.mark.parametrize(("changes", "said"), NONSENSE)
def test_answers_that_cannot_be_true_are_failures_of_the_device(
    changes: dict[str, Any], said: str
) -> None:
    """They are named, and the item is asked for again."""
    trial = Trial(chain("w", "A"))
    trial.engine().lie_next(**changes)
    trial.run()
    failed = [e for r in trial.bench.log.records for e in r.events if isinstance(e, Failed)]
    assert [e.reason.startswith("device 'd0' answered nonsense: " + said) for e in failed] == [True]


def test_absurd_figures_do_no_harm() -> None:
    """Estimates are fed by what engines report; nonsense must not bring the run down."""
    trial = Trial()
    figures: list[dict[str, Any]] = [changes for changes, _ in NONSENSE]
    figures += [{"prompt_tokens": 0, "cached_tokens": 0, "output_tokens": 0}, {"prefill_s": 1e9}]
    for changes in figures:
        trial.engine().lie_next(**changes)
    trial.run()
    for record in trial.bench.log.records:
        assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
    tables = trial.bench.runtime.core.estimator.tables()
    assert (tables.prefill >= 0).all() and (tables.prefill < 1e3).all()
    assert (tables.decode >= 0).all() and (tables.decode < 1e3).all()


def test_answers_that_are_not_acceptable_are_asked_for_again() -> None:
    """The item is not stored and not done; after three attempts its workflow fails."""
    trial = Trial(chain("w", "A"))
    asked: list[str] = []

    def check(instance: InstanceId, item: int, text: str) -> str | None:
        asked.append(text)
        return "not JSON"

    trial.bench.works["w"] = cast("Any", Checked(trial.bench.works["w"], check))
    outcome = trial.run("failed")
    assert len(asked) == 3
    assert outcome.ended["w"].reason.endswith("(attempt 3 of 3): not JSON")
    assert trial.bench.outputs.texts == {}


class Checked:
    """A workflow's content with something put in the place of one method."""

    def __init__(self, work: object, check: Callable[..., str | None]) -> None:
        self._work, self.check = work, check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)


# --- time limits ------------------------------------------------------------------------------


def hanging(limits: Limits) -> Trial:
    """A trial in real time, in which everything takes next to none."""
    on = cluster(devices=1)
    truth = Truth(profile=profile(on, 1e-4))
    return Trial(map_reduce("w", items=1), on=on, truth=truth, limits=limits, clock=WallClock())


def first_hangs(
    method: Callable[..., Coroutine[None, None, Any]],
) -> Callable[..., Coroutine[None, None, Any]]:
    """Wrap a coroutine function so that its first call never returns."""
    calls: list[Any] = []

    async def wrapped(*args: Any) -> Any:
        calls.append(args)
        return await (method(*args) if len(calls) > 1 else asyncio.Event().wait())

    return wrapped


@pytest.mark.parametrize("method", ["load", "unload"])
def test_a_load_or_unload_without_end_is_a_lost_device(method: str) -> None:
    """Nobody knows what the device holds after that; it is restarted, empty."""
    trial = hanging(Limits(load_s=0.1, unload_s=0.1))
    setattr(trial.engine(), method, first_hangs(getattr(trial.engine(), method)))
    trial.run()
    assert f"no end of an {method} in 0.1 s".replace("an l", "a l") in [
        e.reason for e in trial.events(DeviceLost)
    ]
    assert trial.events(DeviceReady)


def test_a_call_without_end_is_a_failed_one() -> None:
    """Its slot is free again and the item is tried once more."""
    trial = hanging(Limits(call_s=0.1))
    trial.engine().call = first_hangs(trial.engine().call)  # pyright: ignore
    trial.run()
    assert trial.events(Failed)[0].reason == "took longer than its limit of 0.1 s"


def test_a_tool_without_end_is_a_failed_one() -> None:
    """The next attempt is quick."""
    trial = hanging(Limits(tool_s=0.1))
    trial.bench.tool = first_hangs(trial.bench.tool)
    trial.run()
    assert trial.events(Failed)[0].reason == "took longer than its limit of 0.1 s"


# --- stops ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "after_s"), [(RunTool, 0.0), (Load, 0.0), (Load, 0.1), (Call, 0.0), (Call, 0.1)]
)
def test_a_stop_ends_everything_that_runs(kind: type[Activity], after_s: float) -> None:
    """Calls and tools are cancelled, loads end, what is finished is kept."""
    trial = Trial()
    trial.once(kind, lambda: trial.bench.runtime.stop("enough"), after_s=after_s)
    outcome = trial.run("cancelled")
    assert {end.reason for end in outcome.ended.values()} == {"enough"}
    assert len(trial.events(CancelAll)) == 1


def test_a_stop_before_anything_has_begun() -> None:
    """Workflows are submitted and cancelled in one batch."""
    trial = Trial()
    trial.bench.runtime.stop("changed my mind")
    trial.run("cancelled")
    assert trial.events(ItemDone) == []


def test_a_stop_while_a_device_is_away() -> None:
    """Nobody waits for a restart that nothing needs any more."""
    trial = Trial(chain("w", "A"), on=cluster(devices=1))
    Broken(trial.engine(), 99)
    trial.once(Call, trial.engine().lose, after_s=0.05)
    trial.once(Call, lambda: trial.bench.runtime.stop("enough"), after_s=0.06)
    trial.run("cancelled")


def test_no_work_is_no_trouble() -> None:
    """An empty list of workflows ends at once."""
    bench = Bench(setup_of(), [])
    outcome = asyncio.run(bench.run())
    assert (outcome.status, outcome.makespan_s, bench.log.records) == ("ok", 0.0, [])


def test_an_empty_workflow_ends_at_once() -> None:
    """It has no stage to wait for."""
    Trial(Graph(id="w", stages=())).run()


# --- bugs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["expand", "request", "run_tool", "check", "learn"])
def test_a_bug_in_the_expander_surfaces(method: str) -> None:
    """The run ends with the bug's own traceback, not with a workflow that hangs or fails."""
    trial = Trial(map_reduce("w"))

    def bug(*_: Any) -> NoReturn:
        raise KeyError("no such key")

    work = Checked(trial.bench.works["w"], trial.bench.works["w"].check)
    setattr(work, method, bug)
    trial.bench.works["w"] = cast("Any", work)
    with pytest.raises(KeyError, match="no such key") as caught:
        trial.run()
    assert "bug" in [entry.name for entry in caught.traceback]
    assert trial.bench.log.committed == len(trial.bench.log.records)


def test_a_bug_in_an_engine_surfaces() -> None:
    """Only `EngineError` is a failure; anything else is a mistake somebody should see."""
    trial = Trial(chain("w", "A"))
    trial.engine().fail_next(cast("EngineError", ZeroDivisionError("in the engine")))
    trial.engine("d1").fail_next(cast("EngineError", ZeroDivisionError("in the engine")))
    with pytest.raises(ZeroDivisionError, match="in the engine"):
        trial.run()


class Buggy:
    """A policy that raises."""

    name, eager, inline = "buggy", False, False
    lookahead: "Lookahead" = "near"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Divide by zero."""
        raise ZeroDivisionError("in the policy")


def test_a_bug_in_a_policy_is_survived() -> None:
    """The greedy fallback decides; the log says what the policy did."""
    trial = Trial()
    trial.bench.planner.policy = Buggy()
    trial.run()
    failures = trial.events(PlanFailed)
    assert failures
    assert {e.reason for e in failures} == {"ZeroDivisionError: in the policy"}


def test_an_instance_that_cannot_be_rendered_fails_its_workflow_only() -> None:
    """The other workflow goes on."""
    trial = Trial(chain("v", "AB"), chain("w", "AB"))
    work = trial.bench.works["v"]
    expand = work.expand

    def failing(instance: InstanceId) -> Any:
        if instance == "v/s1":
            return ExpandFailed(instance=instance, reason="v.yaml:7: no such field")
        return expand(instance)

    broken = Checked(work, work.check)
    broken.expand = failing  # pyright: ignore[reportAttributeAccessIssue]
    trial.bench.works["v"] = cast("Any", broken)
    outcome = trial.run("failed")
    assert outcome.ended["v"].reason == "v.yaml:7: no such field"
    assert outcome.ended["w"].status == "ok"


# --- journal before effect --------------------------------------------------------------------


class Strict(Log):
    """A journal that refuses events whose outputs are not stored."""

    __slots__ = ("trial",)
    trial: Trial

    def append(self, record: Record) -> None:
        """Look the outputs of finished items up."""
        for event in record.events:
            if isinstance(event, ItemDone):
                chunk = self._chunks()[event.activity]
                assert (chunk, event.item) in self.trial.bench.outputs.texts
        super().append(record)

    def commands(self) -> list[Any]:
        """Return the commands that are durable."""
        return [c for record in self.records[: self.committed] for c in record.commands]

    def _chunks(self) -> dict[int, InstanceId]:
        work = [c for c in self.commands() if isinstance(c, Call | RunTool)]
        return {command.activity: command.chunk.instance for command in work}


def test_the_journal_comes_before_effects_and_after_outputs() -> None:
    """No activity begins, and nobody is told of an end, before it is durable."""
    log = Strict()
    log.trial = trial = Trial(log=log)
    begun: list[Activity] = []
    run = trial.bench.executor.run

    async def watched(command: Activity, emit: Any) -> Any:
        assert command in log.commands(), f"{command} begins before it is durable"
        begun.append(command)
        return await run(command, emit)

    trial.bench.executor.run = watched
    trial.run()
    assert begun
    assert trial.told == [*range(1, len(log.records) + 1)]


def test_what_is_finished_is_durable_before_the_run_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item in the middle of a chunk leads to no command, and the next may take minutes."""
    log = Log()
    trial = Trial(map_reduce("w", items=6), log=log)
    wait, lasting = trial.bench.clock.wait, list[bool]()

    async def watched(mail: asyncio.Event) -> None:
        lasting.append(mail.is_set() or log.committed == len(log.records))
        await wait(mail)

    monkeypatch.setattr(trial.bench.clock, "wait", watched)
    trial.run()
    assert lasting and all(lasting)
    assert any(r.events and not r.commands for r in log.records)


# --- on the wall clock ------------------------------------------------------------------------


def test_plans_are_made_beside_the_loop_and_measured() -> None:
    """An inline policy answers at once; any other in a thread. Both are timed."""
    hand, usage = ByHand(), Usage()
    hand.submit(chain("w", "A"))
    inline = WallPlanner(setup_of().policy, usage)
    assert isinstance(inline.at_once(hand.request), Planned)
    assert len(usage.plan_s) == 1
    slow = WallPlanner(cast("Policy", Buggy()), usage)
    assert slow.at_once(hand.request) is None
    assert isinstance(asyncio.run(slow.plan(hand.request)), PlanFailed)
    assert len(usage.plan_s) == 2
