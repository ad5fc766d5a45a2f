"""What the live benchmark makes of its runs, and of those that are there already."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgspec
import pytest
from tests.unit.bench.live_runs import live_report, run

from fate.bench import live as bench
from fate.bench.live import REFERENCES, TARGETS, check_equal_work, live, rotated, summarise
from fate.bench.live_plan import POLICIES, LivePlan, live_policies
from fate.bench.live_rows import LiveRow, kept_rows, row_of
from fate.bench.live_run import LiveRun
from fate.bench.machine import this_machine
from fate.bench.report import Report, Row
from fate.bench.suites.live_page import ALL, write_live
from fate.bench.suites.results import ASIDE, RESULTS, read_rows
from fate.domain.errors import FateError
from fate.registry import names


def rows(tmp_path: Path, runs: list[LiveRun]) -> dict[tuple[str, str, str], Row]:
    """Return the figures of runs by cell, policy and metric."""
    report = Report("live", tmp_path, lambda _: None)
    summarise(report, runs, {name: name for name in REFERENCES})
    return {(row.cell, row.policy, row.metric): row for row in report.rows}


def test_ratios_are_paired_within_a_cell_and_pooled_in_all(tmp_path: Path) -> None:
    """Two cells of one pair each are two pairs of `all`; cells without a gain stay out of it."""
    found = rows(
        tmp_path,
        [
            run("mixed", "round-robin", 0, 10.0, 20),
            run("mixed", "fate", 0, 5.0, 5),
            run("chains", "round-robin", 0, 4.0, 10),
            run("chains", "fate", 0, 4.0, 10),
            run("control", "round-robin", 0, 1.0, 2),
            run("control", "fate", 0, 2.0, 2),
        ],
    )
    assert found["mixed", "fate", "wall_over_round-robin"].mean == pytest.approx(0.5)
    pooled = found[ALL, "fate", "wall_over_round-robin"]
    assert (pooled.mean, pooled.n) == (pytest.approx(0.5**0.5), 2)
    assert found[ALL, "fate", "loads_over_round-robin"].mean == pytest.approx(0.5)
    assert found["control", "fate", "wall_over_round-robin"].mean == pytest.approx(2.0)
    assert found[ALL, "fate", "prediction_error"].mean == pytest.approx(0.1)
    assert found[ALL, "fate", "prediction_error_at_half"].mean == pytest.approx(0.05)


def test_every_target_is_a_figure_of_a_full_run(tmp_path: Path) -> None:
    """A misspelt metric would never be missed."""
    cells = ("mixed", "chains", "control")
    found = rows(tmp_path, [run(cell, policy, 0, 1.0, 1) for cell in cells for policy in POLICIES])
    assert all((t.cell, t.policy, t.metric) in found for t in TARGETS)
    assert set(POLICIES) <= set(names("policy"))


def test_unequal_work_stops_the_benchmark() -> None:
    """One token more and the comparison is worth nothing."""
    first, second = run("mixed", "round-robin", 0, 1.0, 1), run("mixed", "fate", 0, 1.0, 1)
    check_equal_work([first], second)
    call = msgspec.structs.replace(second.calls[0], output_tokens=5)
    with pytest.raises(FateError, match="would not be fair"):
        check_equal_work([first], msgspec.structs.replace(second, calls=(call,)))


def test_policies_rotate() -> None:
    """Each is first once in as many pairs as there are policies."""
    assert [rotated(["a", "b", "c"], pair) for pair in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_cells_without_a_gain_run_fewer_policies_unless_told() -> None:
    """Which is what keeps three pairs within a quarter of an hour."""
    plan = LivePlan(cells=["mixed", "control"], policies=None, seeds=[0, 1], tier="synthetic")
    assert plan.runs == 2 * (7 + 4)
    told = LivePlan(cells=["mixed", "control"], policies=["fate"], seeds=[0, 1], tier="real")
    assert told.runs == 4


def test_policies_are_named_with_what_is_switched_on() -> None:
    """Options stand before switches; what is no switch is refused instead of left out."""
    assert live_policies("fate?depth=0+park, fate,fate") == ["fate?depth=0+park", "fate"]
    with pytest.raises(FateError, match=r"no switch 'parc'; \+park or \+move"):
        live_policies("fate+parc")


PLAN = LivePlan(cells=["mixed", "control"], policies=["a", "b"], seeds=[5, 6], tier="synthetic")


def measure(out: Path, plan: LivePlan, runs: list[LiveRun], **changes: object) -> list[LiveRow]:
    """Leave rows of runs in a folder, as a plan writes them; return them."""
    report = Report("live", out, lambda _: None)
    rows = [msgspec.structs.replace(row_of(run, report, plan), **changes) for run in runs]
    for row in rows:
        report.run(msgspec.to_builtins(row))
    return rows


def seeded(*asked: tuple[str, int, str]) -> list[LiveRun]:
    """Return a run for each cell, seed and policy."""
    return [run(cell, policy, seed, 1.0, 1) for cell, seed, policy in asked]


WHOLE = [(cell, seed, policy) for cell, _, seed in PLAN.rounds() for policy in ("b", "a")]


def kept(out: Path, plan: LivePlan) -> list[tuple[str, int, str]]:
    """Return what is kept, by cell, seed and policy."""
    return [row.key for row in kept_rows(read_rows(out / RESULTS, LiveRow), this_machine(), plan)]


def test_rounds_that_are_whole_are_kept(tmp_path: Path) -> None:
    """In the order of the plan; a cut-off last line takes its round with it."""
    measure(tmp_path, PLAN, seeded(*WHOLE))
    assert kept(tmp_path, PLAN) == [(c, s, p) for c, _, s in PLAN.rounds() for p in ("a", "b")]
    written = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(written[:-40])
    assert kept(tmp_path, PLAN) == [
        (c, s, p) for c, s in (("mixed", 5), ("control", 5), ("mixed", 6)) for p in ("a", "b")
    ]


def test_a_round_of_which_a_policy_is_missing_runs_again(tmp_path: Path) -> None:
    """Times of two sessions are no pair; one policy less is, and one more is not."""
    measure(tmp_path, PLAN, seeded(*WHOLE[:3]))
    assert kept(tmp_path, PLAN) == [("mixed", 5, "a"), ("mixed", 5, "b")]
    fewer, more = replace(PLAN, policies=["b"]), replace(PLAN, policies=["a", "b", "c"])
    assert kept(tmp_path, fewer) == [("mixed", 5, "b"), ("control", 5, "b")]
    assert kept(tmp_path, more) == []


@pytest.mark.parametrize(
    "changes", [{"code": "x"}, {"tier": "real"}, {"park": True}, {"hardware": "x"}, {"suite": "x"}]
)
def test_rows_of_something_else_are_not_kept(tmp_path: Path, changes: dict[str, object]) -> None:
    """Other code, models, settings or machines are other measurements."""
    measure(tmp_path, PLAN, seeded(*WHOLE), **changes)
    assert kept(tmp_path, PLAN) == []


def test_nothing_is_kept_where_nothing_is(tmp_path: Path) -> None:
    """Nor of rows that an earlier version wrote."""
    assert kept(tmp_path / "none", PLAN) == []
    (tmp_path / RESULTS).write_bytes(msgspec.json.encode(run("mixed", "a", 5, 1.0, 1)) + b"\n")
    assert kept(tmp_path, PLAN) == []


class Engineless:
    """Stands for open engines: runs take a second."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, int]] = []
        self.calibrated: list[int] = []

    async def run(self, cell: str, policy: str, pair: int, seed: int) -> LiveRun:
        """Return a run."""
        self.asked.append((cell, policy, pair, seed))
        return msgspec.structs.replace(run(cell, policy, pair, 1.0, 1), seed=seed)

    @asynccontextmanager
    async def open(
        self, _job: object, _report: Report, seed: int, **_: object
    ) -> AsyncGenerator[Self]:
        """Calibrate."""
        self.calibrated.append(seed)
        yield self


@pytest.fixture
def engineless(monkeypatch: pytest.MonkeyPatch) -> Engineless:
    """No engine is opened, no kernel compiled."""
    made = Engineless()
    monkeypatch.setattr(bench, "open_bench", made.open)
    monkeypatch.setattr(bench, "ready_policy", str)
    return made


def test_pairs_are_the_places_of_seeds(tmp_path: Path, engineless: Engineless) -> None:
    """The first seed calibrates; with each another policy is first."""
    assert live(tmp_path, lambda _: None, PLAN) == 0
    assert engineless.calibrated == [5]
    assert engineless.asked == [
        ("mixed", "a", 0, 5),
        ("mixed", "b", 0, 5),
        ("control", "a", 0, 5),
        ("control", "b", 0, 5),
        ("mixed", "b", 1, 6),
        ("mixed", "a", 1, 6),
        ("control", "b", 1, 6),
        ("control", "a", 1, 6),
    ]


def test_a_resumed_bench_runs_the_rest(tmp_path: Path, engineless: Engineless) -> None:
    """Rows that are kept stay as they are, what is no whole round goes; then all is there."""
    before = measure(tmp_path, PLAN, seeded(*WHOLE[:3]), commit="before")
    (tmp_path / RESULTS).write_bytes((tmp_path / RESULTS).read_bytes() + b'{"suite": "li')
    said = list[str]()
    live(tmp_path, said.append, replace(PLAN, resume=True))
    assert "2 of 8 runs are there already" in said
    assert f"rows that do not count here, set aside in {tmp_path / ASIDE}: 1" in said
    assert read_rows(tmp_path / ASIDE / RESULTS, LiveRow) == before[2:]
    assert [asked[:2] for asked in engineless.asked[:2]] == [("control", "a"), ("control", "b")]
    lines = (tmp_path / RESULTS).read_bytes().splitlines()
    rows = [msgspec.json.decode(line, type=LiveRow) for line in lines]
    assert (len(rows), sorted(rows[:2], key=lambda row: row.policy)) == (
        8,
        sorted(before[:2], key=lambda row: row.policy),
    )
    assert kept(tmp_path, PLAN) == [(c, s, p) for c, _, s in PLAN.rounds() for p in ("a", "b")]
    live(tmp_path, said.append, replace(PLAN, resume=True))
    assert "8 of 8 runs are there already" in said
    assert (len(engineless.asked), engineless.calibrated) == (6, [5])
    live(tmp_path, said.append, PLAN)
    assert len(engineless.asked) == 6 + 8


def test_an_unknown_tier_leaves_earlier_results(tmp_path: Path) -> None:
    """It is refused before they are touched."""
    measure(tmp_path, PLAN, seeded(*WHOLE))
    with pytest.raises(FateError, match="no tier 'reel'"):
        live(tmp_path, lambda _: None, replace(PLAN, tier="reel"))
    assert len(kept(tmp_path, PLAN)) == 8


def test_the_report_has_every_cell_and_where_the_time_goes(tmp_path: Path) -> None:
    """All comparisons in the first cell, one in the others; bars of device-seconds in each."""
    page = live_report(tmp_path).read_text(encoding="utf-8")
    assert page.count("wall over ") >= 5 + 3
    for title in ("All cells in which", "mixed", "chains", "control", "Where the time goes"):
        assert f"<h2>{title}" in page
    assert page.count('<g class="part c0">') == 3 * len(POLICIES)
    assert "move states" not in page
    assert "Virtual time" not in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| policy | wall / round-robin | wall / round-robin-idle |" in text
    assert "| all | fate, planner cpu share | .010 | 4 | at most .02 | ✓ reached |" in text
    assert "| mixed | foresight | 12 | 8 | 1500 | 1000 |" in text
    assert "## What this does not show" in text


def test_one_cell_has_a_report_too(tmp_path: Path) -> None:
    """Targets of which none is measured are one sentence; states that move are a part of bars."""
    report = Report("live", tmp_path, lambda _: None)
    moved = [msgspec.structs.replace(run("control", "fate", 0, 2.0, 2), move_s=0.5)]
    summarise(report, moved, {name: name for name in REFERENCES})
    write_live(report, REFERENCES, TARGETS, "fate bench live --cells control")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "None is measured: they are about `foresight` in `all`, `fate` in `all`" in text
    assert "## control" not in text  # nobody to compare with
    assert "| cell | policy | load and unload | prefill | decode | idle | move states |" in text


TERMINATED = """
import asyncio, os, signal
from fate.bench.live_run import ended_in_order

async def work():
    try:
        with ended_in_order():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("closed")

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    asyncio.run(work())
except KeyboardInterrupt:
    print(signal.getsignal(signal.SIGTERM) is signal.default_int_handler)
"""


def test_sigterm_lets_devices_be_closed() -> None:
    """As Ctrl-C does; afterwards it means what it meant before."""
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("closed\nTrue\n", "")
