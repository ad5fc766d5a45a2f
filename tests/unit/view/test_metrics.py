"""Figures of a run."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from fate.domain import messages as m
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk
from fate.drivers.setup import Outcome
from fate.view.fold import fold
from fate.view.history import HOST, RunFacts
from fate.view.metrics import Meters, error_at_half, percentile, summary
from fate.view.report import render

KEYS = [
    "status",
    "simulated",
    "policy",
    "seed",
    "makespan_s",
    "predicted_makespan_s",
    "expected_end",
    "prediction_error_at_half",
    "stages",
    "model_loads",
    "evictions",
    "prompt_tokens",
    "cached_tokens",
    "moved_bytes",
    "moves",
    "copies",
    "parked",
    "restored",
    "reused_items",
    "dropped_items",
    "failed_attempts",
    "device_losses",
    "drains",
    "interruptions",
    "planning_ms",
    "fallback_share",
    "scheduler_cpu_share",
    "devices",
    "engines",
    "outputs",
    "timeline",
    "journal",
]


def test_json_keys_are_stable(facts: RunFacts, records: list[m.Record]) -> None:
    """Scripts read these; adding one is fine, losing one is not."""
    made = summary(facts, fold(facts.cluster, records), outputs={"text": "hello"})
    data = msgspec.json.decode(msgspec.json.encode(made))
    assert list(data) == KEYS
    assert list(data["stages"]) == ["total", "done", "failed", "skipped"]
    assert list(data["planning_ms"]) == ["p50", "p99", "n"]
    assert list(data["devices"]["d0"]) == [
        f"{use}_s"
        for use in ["load", "unload", "warm", "move", "prefill", "decode", "tool", "idle"]
    ]


def test_device_times_of_the_known_run(facts: RunFacts, records: list[m.Record]) -> None:
    """Loads, prefill, decode and idle of both devices, and the host's tool."""
    devices = summary(facts, fold(facts.cluster, records)).devices
    d0, d1, host = devices["d0"], devices["d1"], devices[HOST]
    assert (d0.load_s, d0.prefill_s, d0.decode_s) == pytest.approx((1.0, 0.7, 3.3))
    assert (d1.load_s, d1.prefill_s, d1.decode_s) == pytest.approx((2.0, 1.0, 1.0))
    assert (d0.idle_s, d1.idle_s) == pytest.approx((5.0, 6.0))
    assert host.tool_s == pytest.approx(0.4)


@pytest.mark.parametrize(("workflows", "items"), [(1, 1), (3, 4), (8, 20)])
def test_device_times_add_up_to_makespan_times_slots(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]], workflows: int, items: int
) -> None:
    """Nothing is counted twice or lost; idle agrees with the idle spans."""
    facts, outcome = run_many(workflows, items)
    history = fold(facts.cluster, outcome.records)
    made = summary(facts, history)
    for device in facts.cluster.devices:
        times = msgspec.structs.astuple(made.devices[device.id])
        assert sum(times) == pytest.approx(device.slots * made.makespan_s)
        spans = [s for s in history.idle if s.device == device.id]
        idle_s = sum(s.slots * (s.end_s - s.start_s) for s in spans)
        assert made.devices[device.id].idle_s == pytest.approx(idle_s)


def test_a_load_behind_a_call_takes_no_slot(
    facts: RunFacts, cluster: Cluster, records: list[m.Record]
) -> None:
    """A load beside a running call costs only the time for which the slot waits on it."""
    log = [
        *records[:5],
        m.Record(at_s=4.5, commands=(m.Load(activity=8, device="d0", model="b"),)),
        records[5],
        m.Record(at_s=6.5, events=(m.Done(activity=8),)),
    ]
    times = summary(facts, fold(cluster, log)).devices["d0"]
    assert times.load_s == pytest.approx(1.0 + 1.0)
    assert sum(msgspec.structs.astuple(times)) == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("reason", "share"), [((m.PlanLate(version=3),), 0.5), ((m.Woke(at_s=5.6),), 0.0)]
)
def test_calls_without_a_plan_in_time_are_the_fallback_share(
    facts: RunFacts,
    cluster: Cluster,
    records: list[m.Record],
    reason: tuple[m.Event, ...],
    share: float,
) -> None:
    """A call is what its chain was started for, here while loading; overdue is no fallback."""
    chunk = Chunk("w/draft", 0, 1)
    log = [
        *records[:7],
        m.Record(at_s=5.6, events=reason, commands=(m.Load(activity=3, device="d0", model="b"),)),
        m.Record(
            at_s=7.6,
            events=(m.Done(activity=3),),
            commands=(m.Call(activity=4, device="d0", model="b", chunk=chunk),),
        ),
        *records[9:],
    ]
    assert summary(facts, fold(cluster, log)).fallback_share == share


def test_wall_readings_come_from_the_meters(facts: RunFacts, records: list[m.Record]) -> None:
    """Planning times in milliseconds, processor time as a share of the cores."""
    meters = Meters(planning_s=(0.001, 0.003, 0.002), scheduler_cpu_s=0.4, cores=2)
    made = summary(facts, fold(facts.cluster, records), meters=meters)
    assert msgspec.structs.astuple(made.planning_ms) == (2.0, 3.0, 3)
    assert made.scheduler_cpu_share == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [((), 0.5, 0.0), ((1, 2, 3, 4), 0.5, 2), ((1, 2, 3), 0.99, 3), ((7,), 0.0, 7)],
)
def test_percentile(values: Sequence[float], share: float, expected: float) -> None:
    """Nearest rank: always one of the values."""
    assert percentile(values, share) == expected


def test_the_table_shows_where_the_time_went(facts: RunFacts, records: list[m.Record]) -> None:
    """Bars are in proportion: d0 loads for 1 of 10 seconds, so for 5 of 50 letters."""
    history = fold(facts.cluster, records)
    text = render(summary(facts, history, journal="/runs/r1"), history)
    assert "ok in 10.00 s (predicted 9.50 s, +5%)" in text
    assert "LLLLL" + "p" * 4 + "d" * 16 + "." * 25 in text
    assert "waiting for parents 5.00 s" in text
    assert "simulated" not in text and text.isascii()


def test_the_table_says_how_far_off_the_expected_end_was_at_half_time(
    facts: RunFacts, records: list[m.Record]
) -> None:
    """Where the end was predicted while it ran, too."""
    history = fold(facts.cluster, records)
    meters = Meters(expected_end=((4.0, 11.0), (9.0, 10.0)))
    text = render(summary(facts, history, meters=meters))
    assert "(predicted 9.50 s, +5%; at half time off by 10%)" in text
    cut_short = msgspec.structs.replace(summary(facts, history, meters=meters), status="cancelled")
    assert "half time" not in render(cut_short)  # nobody predicted when it would be stopped


def test_the_table_of_a_simulated_run_says_so(
    run_many: Callable[[int, int], tuple[RunFacts, Outcome]],
) -> None:
    """Every output of the simulator does."""
    facts, outcome = run_many(1, 2)
    text = render(summary(facts, fold(facts.cluster, outcome.records)))
    assert text.startswith("simulated: ok in")


def test_the_error_at_half_time_is_that_of_the_last_prediction_before_it(
    facts: RunFacts, records: list[m.Record]
) -> None:
    """The run takes 10 s: predictions at 0 s (9.5), 4 s (11), 6 s (10.1) give 10 %."""
    meters = Meters(expected_end=((4.0, 11.0), (6.0, 10.1)))
    made = summary(facts, fold(facts.cluster, records), meters=meters)
    assert made.expected_end == ((0.0, 9.5), (4.0, 11.0), (6.0, 10.1))
    assert made.prediction_error_at_half == pytest.approx(0.1)
    assert error_at_half((), 10.0) is None
