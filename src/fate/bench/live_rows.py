"""Rows of the live benches' results.jsonl, and which of an earlier session still hold."""

from collections.abc import Sequence

import msgspec

from fate.bench.live_plan import LivePlan
from fate.bench.live_run import LiveRun
from fate.bench.machine import Machine
from fate.bench.report import Report
from fate.bench.suites.results import code_digest


class LiveRow(LiveRun, frozen=True, kw_only=True):
    """A run, and what it was made by: sources (`code` is their digest), machine and settings."""

    suite: str
    commit: str
    code: str
    hardware: str
    tier: str
    park: bool

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells this run apart: cell, seed, policy."""
        return self.cell, self.seed, self.policy


def row_of(run: LiveRun, report: Report, plan: LivePlan) -> LiveRow:
    """Return the row of a run."""
    return LiveRow(
        **msgspec.structs.asdict(run),
        suite=report.suite,
        commit=report.machine.commit,
        code=code_digest(),
        hardware=report.machine.hardware,
        tier=plan.tier,
        park=plan.park,
    )


def kept_rows(rows: Sequence[LiveRow], machine: Machine, plan: LivePlan) -> list[LiveRow]:
    """Return what the same code made on the same machine with the same settings, whole rounds only.

    A round is a cell and a seed under every policy. Where one policy is missing the others run
    again too: ratios are of runs made side by side, and a machine is not as fast today as it was
    yesterday.
    """
    asked = ("live", code_digest(), machine.hardware, plan.tier, plan.park)
    found = {
        row.key: row
        for row in rows
        if (row.suite, row.code, row.hardware, row.tier, row.park) == asked
    }
    kept: list[LiveRow] = []
    for cell, _, seed in plan.rounds():
        keys = [(cell, seed, policy) for policy in plan.of(cell)]
        if all(key in found for key in keys):
            kept += [found[key] for key in keys]
    return kept
