"""Suites of LLM workflows on real GPUs' figures: measured shapes, controlled sharing, traces."""

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from fate.bench.case import Case
from fate.bench.suites.given import Given
from fate.bench.suites.problem import Problem, Spec
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Choice, Pool
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import models_of
from fate.bench.workloads.graph_files import graph_workflows, read_graphs
from fate.bench.workloads.native import LLM_NATIVE_CELLS
from fate.bench.workloads.noise import foreknown
from fate.bench.workloads.reuse import PREFIX_REUSE_CELLS, SHARES
from fate.bench.workloads.rigs import rig
from fate.bench.workloads.trace_files import Session, read_trace
from fate.bench.workloads.traces import TRACE_CELLS
from fate.domain.errors import FateError

NATIVE, REUSE, TRACE = "llm-native", "prefix-reuse", "trace"
_QUICK_NATIVE = ("rag", "mapreduce", "mix-mixed-4", "mix-mild")
_QUICK_REUSE = ("share-0.0", "share-0.5", "share-0.9")
#: Groups of `llm-native` and `trace`.
DRAWN, KNOWN = "all", "known"
#: With fewer workflows, quantiles of their latencies say nothing.
_NO_TAIL = 4
#: Graphs of a file that run together, and the clusters they run on.
_GRAPHS, _GRAPH_RIGS = 12, ("mild", "hetero")


class NativeSpec(msgspec.Struct, frozen=True, kw_only=True, tag="llm-native"):
    """A cell of `LLM_NATIVE_CELLS`; `known`: policies know the lengths that are drawn."""

    cell: str
    known: bool = False

    def case(self, seed: int, store: Path) -> Case:  # nothing to keep
        """Make the case."""
        case = LLM_NATIVE_CELLS[self.cell].case(seed)
        return foreknown(case) if self.known else case


class GraphsSpec(msgspec.Struct, frozen=True, kw_only=True, tag="graphs"):
    """Graphs of a file, drawn by the seed, on a cluster."""

    file: Given
    gpus: str

    def case(self, seed: int, store: Path) -> Case:  # nothing to keep
        """Make the case."""
        forms = read_graphs(self.file.where)
        drawn = random.Random(seed).sample(forms, min(_GRAPHS, len(forms)))  # noqa: S311  # no secret
        arrivals = graph_workflows(drawn, seed)
        return make_case(arrivals, rig(self.gpus, models_of(arrivals)), seed)


class ReuseSpec(msgspec.Struct, frozen=True, kw_only=True, tag="prefix-reuse"):
    """A cell of `PREFIX_REUSE_CELLS`."""

    cell: str

    def case(self, seed: int, store: Path) -> Case:  # nothing to keep
        """Make the case."""
        return PREFIX_REUSE_CELLS[self.cell].case(seed)


class TraceSpec(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """A cell of `TRACE_CELLS` on a file; `known`: policies know every answer and every wait."""

    cell: str
    file: Given
    known: bool = False

    def case(self, seed: int, store: Path) -> Case:  # nothing to keep
        """Make the case."""
        case = TRACE_CELLS[self.cell].case(_sessions(self.file), seed)
        return foreknown(case) if self.known else case


def native_problems(choice: Choice) -> list[Problem]:
    """Return the measured shapes, then these with lengths known; or the graphs of a file."""
    if choice.graphs is not None:
        file = choice.graphs
        read_graphs(file.where)
        return _problems(
            NATIVE,
            {f"graphs-{gpus}": GraphsSpec(file=file, gpus=gpus) for gpus in _GRAPH_RIGS},
            choice,
        )
    cells = _QUICK_NATIVE if choice.quick else tuple(LLM_NATIVE_CELLS)
    drawn = {cell: NativeSpec(cell=cell) for cell in cells}
    known = {f"known/{cell}": NativeSpec(cell=cell, known=True) for cell in cells}
    return _problems(NATIVE, drawn | known, choice)


def reuse_problems(choice: Choice) -> list[Problem]:
    """Return the shares, then skew and groups."""
    cells = _QUICK_REUSE if choice.quick else tuple(PREFIX_REUSE_CELLS)
    return _problems(REUSE, {cell: ReuseSpec(cell=cell) for cell in cells}, choice)


def trace_problems(choice: Choice) -> list[Problem]:
    """Return windows of a trace, then these with answers and waits known.

    Raises:
        FateError: no file is given, or it is no trace.
    """
    if choice.trace is None:
        raise FateError("trace: give a file of rows or sessions, --trace FILE")
    file = choice.trace
    _sessions(file)
    cells = ("mixed-4",) if choice.quick else tuple(TRACE_CELLS)
    drawn = {cell: TraceSpec(cell=cell, file=file) for cell in cells}
    known = {f"known/{cell}": TraceSpec(cell=cell, file=file, known=True) for cell in cells}
    return _problems(TRACE, drawn | known, choice)


def _problems(suite: str, specs: Mapping[str, Spec], choice: Choice) -> list[Problem]:
    return [
        Problem(suite=suite, cell=cell, seed=seed, spec=spec)
        for cell, spec in specs.items()
        for seed in choice.seeds
    ]


def known_pools() -> list[Pool]:
    """Return the cells with lengths that nobody knows, and those with lengths that are known."""

    def pool(name: str, *, known: bool) -> Pool:
        def within(run: Run) -> bool:
            return bool(run.settings.get("known")) == known

        def tail(run: Run) -> bool:
            return within(run) and has_tail(run)

        return Pool(name, within, tail)

    return [pool(DRAWN, known=False), pool(KNOWN, known=True)]


def reuse_pools() -> list[Pool]:
    """Return the shares pooled, without the variations."""

    def within(run: Run) -> bool:
        return run.settings["cell"] in reuse_axis().values()

    return [Pool("all", within, within)]


def reuse_axis() -> dict[float, str]:
    """Return the cell of each share."""
    return {share: f"share-{share}" for share in SHARES}


def has_tail(run: Run) -> bool:
    """Whether a run has enough workflows for a quantile of their latencies."""
    return run.workflows > _NO_TAIL


@cache
def _sessions(file: Given) -> list[Session]:
    return read_trace(file.where)
