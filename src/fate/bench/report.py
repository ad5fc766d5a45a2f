"""What a suite leaves behind: summary.json, results.jsonl, machine.json, and lines to read."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from fate.bench.machine import Machine, this_machine
from fate.bench.statistics import Interval

#: Where lines for people go; commands pass `print`.
Echo: TypeAlias = Callable[[str], None]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of `summary.json`; `policy` is empty where none is involved."""

    suite: str
    cell: str
    policy: str
    metric: str
    mean: float
    low: float
    high: float
    n: int


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure should be.

    `at_most`: its mean is no higher than `bound`, `at_least`: no lower, `below`: lower.
    `reaches_down_to`: its interval includes or lies below `bound`. `overlaps`: it overlaps `bound`
    to `upper`.
    """

    cell: str
    policy: str
    metric: str
    kind: Literal["at_most", "at_least", "below", "reaches_down_to", "overlaps"]
    bound: float
    upper: float = 0.0

    def reached(self, row: Row) -> bool:
        """Whether a figure is what it should be."""
        match self.kind:
            case "at_most":
                return row.mean <= self.bound
            case "at_least":
                return row.mean >= self.bound
            case "below":
                return row.mean < self.bound
            case "reaches_down_to":
                return row.low <= self.bound
            case "overlaps":
                return row.low <= self.upper and row.high >= self.bound

    def __str__(self) -> str:
        """Render the condition."""
        match self.kind:
            case "at_most":
                return f"at most {_bound(self.bound)}"
            case "at_least":
                return f"at least {_bound(self.bound)}"
            case "below":
                return f"below {_bound(self.bound)}"
            case "reaches_down_to":
                return f"interval reaches {_bound(self.bound)} or less"
            case "overlaps":
                return f"interval overlaps {_bound(self.bound)} to {_bound(self.upper)}"


class Report:
    """Collects the rows and runs of one suite and writes them to its folder as they come.

    `keep` leaves the results.jsonl that is there.
    """

    def __init__(self, suite: str, out: Path, echo: Echo, *, keep: bool = False) -> None:
        self.suite, self.out, self.echo = suite, out, echo
        self.machine: Machine = this_machine()
        self.rows: list[Row] = []
        out.mkdir(parents=True, exist_ok=True)
        if not keep:
            (out / "results.jsonl").write_bytes(b"")
        machine = msgspec.json.format(msgspec.json.encode(self.machine), indent=1)
        (out / "machine.json").write_bytes(machine + b"\n")

    def run(self, facts: Mapping[str, Any]) -> None:
        """Append one run to results.jsonl: what was configured, and everything measured."""
        line = {"suite": self.suite, "commit": self.machine.commit, **facts}
        with (self.out / "results.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def add(self, cell: str, policy: str, metric: str, figure: Interval) -> None:
        """Add a figure."""
        row = Row(
            suite=self.suite,
            cell=cell,
            policy=policy,
            metric=metric,
            mean=figure.mean,
            low=figure.low,
            high=figure.high,
            n=figure.n,
        )
        self.rows.append(row)

    def write(self) -> Path:
        """Write summary.json and return its path."""
        path = self.out / "summary.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self.rows), indent=1) + b"\n")
        return path

    def show_machine(self) -> None:
        """Print what this is measured on."""
        m = self.machine
        packages = ", ".join(f"{name} {found}" for name, found in m.versions.items())
        self.echo(f"fate {m.fate} {m.commit}, Python {m.python}, {packages}")
        self.echo(
            f"{m.processor}, {m.cores} cores, {m.memory_bytes / 2**30:.0f} GiB, "
            f"load average {m.load_before:.1f} before the start"
        )

    def show_rows(self) -> None:
        """Print every row as a table."""
        cells = [(r.cell, r.policy, r.metric, *_figures(r)) for r in self.rows]
        head = ("cell", "policy", "metric", "mean", "95 % interval", "n")
        self.echo(table(head, cells))

    def show_targets(self, targets: list[Target]) -> int:
        """Print for each target whether it is reached, or not measured; return the misses."""
        found = {(row.cell, row.policy, row.metric): row for row in self.rows}
        missed = 0
        for target in targets:
            row = found.get((target.cell, target.policy, target.metric))
            if row is None:
                what = f"{target.cell} {target.policy} {target.metric}"
                self.echo(f"not measured  {what}; target: {target}")
                continue
            reached = target.reached(row)
            missed += not reached
            mean, interval, n = _figures(row)
            self.echo(
                f"{'reached' if reached else 'MISSED '}  {row.cell} {row.policy} {row.metric}: "
                f"{mean} [{interval}], n {n}; target: {target}"
            )
        return missed


class Progress:
    """Lines of progress with the time that is left, by the weights of the steps so far.

    `weight` is that of all steps; without it each weighs 1.
    """

    def __init__(self, total: int, echo: Echo, weight: float | None = None) -> None:
        self._total, self._echo = total, echo
        self._left = float(total) if weight is None else weight
        self._done, self._gone, self._start_s = 0, 0.0, time.perf_counter()

    def step(self, what: str, weight: float = 1.0) -> None:
        """Report a finished step."""
        self._done += 1
        self._gone, self._left = self._gone + weight, self._left - weight
        elapsed_s = time.perf_counter() - self._start_s
        left_s = elapsed_s / self._gone * max(self._left, 0.0)
        left = f", about {duration(left_s)} left" if self._done < self._total else ""
        self._echo(f"[{self._done}/{self._total}] {what}{left}")


def duration(seconds: float) -> str:
    """Render seconds as people say them."""
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Lay out columns: the first three to the left, figures to the right."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    left = {i for i in range(len(head)) if not any(_is_number(line[i]) for line in rows)}

    def line(cells: tuple[str, ...]) -> str:
        parts = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit()


def _bound(value: float) -> str:
    """Render a bound as ratios are written: without a zero before the point."""
    return f"{value:g}".replace("0.", ".", 1) if 0.0 < value < 1.0 else f"{value:g}"


def _figures(row: Row) -> tuple[str, str, str]:
    interval = "" if row.low == row.high else f"{short_text(row.low)} - {short_text(row.high)}"
    return short_text(row.mean), interval, str(row.n)


def short_text(value: float) -> str:
    """Render a figure with three digits, or all of a large one's."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
