"""Files and lines that a suite leaves behind."""

import json
from pathlib import Path

import pytest

from fate.bench.report import Progress, Report, Row, Target, duration, table
from fate.bench.statistics import Interval


def figure(mean: float, low: float, high: float) -> Interval:
    """Return a figure of three pairs."""
    return Interval(mean=mean, low=low, high=high, n=3)


def row(mean: float, low: float, high: float) -> Row:
    """Return a row of no particular suite."""
    return Row(suite="s", cell="c", policy="p", metric="m", mean=mean, low=low, high=high, n=3)


def test_the_summary_is_a_list_of_rows_with_stable_keys(tmp_path: Path) -> None:
    """What other tools read."""
    report = Report("live", tmp_path / "out", lambda _: None)
    report.add("all", "fate", "wall_over_round-robin", figure(0.7, 0.6, 0.8))
    rows = json.loads(report.write().read_text())
    assert rows == [
        {
            "suite": "live",
            "cell": "all",
            "policy": "fate",
            "metric": "wall_over_round-robin",
            "mean": 0.7,
            "low": 0.6,
            "high": 0.8,
            "n": 3,
        }
    ]


def test_every_run_is_a_line_with_its_commit(tmp_path: Path) -> None:
    """And a second report into the same folder starts afresh."""
    Report("live", tmp_path, lambda _: None).run({"cell": "mixed", "seed": 6})
    report = Report("live", tmp_path, lambda _: None)
    report.run({"cell": "mixed", "seed": 7})
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"suite": "live", "commit": report.machine.commit, "cell": "mixed", "seed": 7}
    ]
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["cores"] >= 1 and machine["python"] and "numpy" in machine["versions"]


@pytest.mark.parametrize(
    ("kind", "bound", "upper", "figures", "reached"),
    [
        ("at_most", 0.75, 0.0, (0.75, 0.5, 1.0), True),
        ("at_most", 0.75, 0.0, (0.76, 0.5, 1.0), False),
        ("below", 1.0, 0.0, (0.99, 0.9, 1.1), True),
        ("below", 1.0, 0.0, (1.0, 0.9, 1.1), False),
        ("reaches_down_to", 1.0, 0.0, (1.1, 1.0, 1.2), True),
        ("reaches_down_to", 1.0, 0.0, (1.1, 1.01, 1.2), False),
        ("overlaps", 0.95, 1.05, (1.1, 1.04, 1.2), True),
        ("overlaps", 0.95, 1.05, (0.9, 0.8, 0.94), False),
        ("overlaps", 0.95, 1.05, (1.2, 1.06, 1.3), False),
    ],
)
def test_targets(
    kind: str, bound: float, upper: float, figures: tuple[float, float, float], reached: bool
) -> None:
    """Each kind, on both sides of its border."""
    target = Target(cell="c", policy="p", metric="m", kind=kind, bound=bound, upper=upper)  # pyright: ignore[reportArgumentType]
    assert target.reached(row(*figures)) is reached


def test_misses_are_counted_and_said(tmp_path: Path) -> None:
    """A target without a figure is said to be not measured, and is no miss."""
    lines: list[str] = []
    report = Report("s", tmp_path, lines.append)
    report.add("c", "p", "a", figure(0.5, 0.4, 0.6))
    report.add("c", "p", "b", figure(0.9, 0.8, 1.0))
    targets = [
        Target(cell="c", policy="p", metric=metric, kind="at_most", bound=0.75) for metric in "abx"
    ]
    assert report.show_targets(targets) == 1
    assert lines[0].startswith("reached") and lines[1].startswith("MISSED")
    assert lines[2].startswith("not measured  c p x")


def test_progress_says_what_is_left() -> None:
    """Until nothing is."""
    lines: list[str] = []
    progress = Progress(2, lines.append)
    progress.step("first")
    progress.step("second")
    assert lines[0].startswith("[1/2] first, about ") and lines[1] == "[2/2] second"


def test_progress_weighs_steps() -> None:
    """Three quarters of the weight are done with the first of two steps."""
    lines: list[str] = []
    Progress(2, lines.append, 4.0).step("heavy", 3.0)
    assert lines[0].startswith("[1/2] heavy, about ")


def test_durations() -> None:
    """Seconds, then minutes."""
    assert [duration(s) for s in (3.4, 89.0, 90.0, 3599.0)] == [
        "3 s",
        "89 s",
        "1 min 30 s",
        "59 min 59 s",
    ]


def test_tables_align_names_left_and_figures_right() -> None:
    """One blank column apart, without trailing blanks."""
    assert table(("name", "n"), [("a", "1"), ("long", "200")]).splitlines() == [
        "name    n",
        "----  ---",
        "a       1",
        "long  200",
    ]
