"""`fate bench real-dag`: WfCommons DAGs on toy clusters, every cell scaled to its regime."""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from fate.bench.case import Case
from fate.bench.suites.given import Given
from fate.bench.suites.problem import Problem
from fate.bench.suites.results import Run, code_digest
from fate.bench.suites.suite import Choice, Pool, Within, never
from fate.bench.suites.token_dag import MAPPING, TokenSpec, is_token, token_problems
from fate.bench.workloads.proxy import Workflow, draw_instances, draw_workflows, wanted
from fate.bench.workloads.recipes import instances
from fate.bench.workloads.regimes import (
    CONTROL,
    NON_COMPUTE,
    REGIMES,
    Calibrated,
    calibrate,
    proxy_case,
)
from fate.bench.workloads.toys import CLUSTERS, ClusterKind

NAME = "real-dag"
#: The cell whose numbers resemble the paper's: that is why it was chosen, after the fact.
HEADLINE: ClusterKind = "mild"
HEADLINE_WORKFLOWS, HEADLINE_TAIL_WORKFLOWS = 2, 12
#: With so few workflows at once, a 95 % quantile of latencies is a makespan by another name.
_NO_TAIL = 4
#: Workflows at once.
_FULL, _QUICK = (2, 8), (2,)
LOADS = (1, 4, 16)
#: Files with more tasks are no part of a quick run: recipes are not asked for more either.
_QUICK_TASKS = 120
_QUICK_CLUSTERS: tuple[ClusterKind, ...] = ("mild", "hetero")


class ProxySpec(msgspec.Struct, frozen=True, kw_only=True, tag="paper-proxy"):
    """So many workflows at once on a toy cluster in a regime.

    `instances` is a folder or none, `most_tasks` of one of its files, where that is bounded.
    """

    cluster: ClusterKind
    regime: str
    workflows: int
    instances: Given | None = None
    most_tasks: int | None = None

    @property
    def cell(self) -> str:
        """The cell's name."""
        return f"{self.cluster}/{self.regime}/W{self.workflows}"

    def case(self, seed: int, store: Path) -> Case:
        """Make the case, calibrating it unless that was done before."""
        drawn = self.draw(seed)
        return proxy_case(drawn, self.cluster, self.calibrated(drawn, seed, store).scale, seed)

    def draw(self, seed: int) -> list[Workflow]:
        """Return the workflows; different cells draw different ones."""
        folder = None if self.instances is None else self.instances.where
        return draw_workflows(self.numbers(seed), self.workflows, folder, self.most_tasks)

    def numbers(self, seed: int) -> list[int]:
        """Return what seeds the draws."""
        regime, cluster = list(REGIMES).index(self.regime), CLUSTERS.index(self.cluster)
        return [seed, cluster, regime, self.workflows]

    def calibrated(self, drawn: Sequence[Workflow], seed: int, store: Path) -> Calibrated:
        """Return the scale, made once for all processes and later runs of the same code."""
        drawn_from = None if self.instances is None else self.instances.digest
        made_by = f"{code_digest()} {drawn_from} {self.most_tasks}"
        digest = blake2b(made_by.encode(), digest_size=6).hexdigest()
        name = f"{self.cell.replace('/', '-')}-{seed}-{digest}.json"
        path = store / "calibration" / name
        if path.is_file():
            return msgspec.json.decode(path.read_bytes(), type=Calibrated)
        found = calibrate(drawn, self.cluster, self.regime)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(msgspec.json.encode(found))
        part.replace(path)
        return found


def problems(choice: Choice) -> list[Problem]:
    """Return the frozen list: clusters, regimes, loads, the mapping `tokens`; or the quick part."""
    if choice.quick:
        specs = _specs(_QUICK_CLUSTERS, NON_COMPUTE, _QUICK, choice)
    else:
        specs = [
            *_specs(CLUSTERS, tuple(REGIMES), _FULL, choice),
            *_specs((HEADLINE,), NON_COMPUTE, (HEADLINE_TAIL_WORKFLOWS,), choice),
        ]
    tokens = [] if choice.quick else token_problems(NAME, choice)
    return [*spread(NAME, specs, choice.seeds), *tokens]


def choosing_problems(choice: Choice, suite: str = NAME) -> list[Problem]:
    """Return what comparison baselines are chosen on: two workflows on every cluster, no control.

    With eight workflows at once a run takes six times as long, and there are fifty baselines.
    """
    clusters = (HEADLINE,) if choice.quick else CLUSTERS
    return spread(suite, _specs(clusters, NON_COMPUTE, _QUICK, choice), choice.seeds)


def chosen_by() -> dict[str, Within]:
    """Return the groups by which baselines are ranked: all clusters decide."""
    return {"grid": in_grid, "headline": _headline(HEADLINE_WORKFLOWS)}


def load_problems(choice: Choice) -> list[Problem]:
    """Return other numbers of workflows at once on the headline's cluster."""
    loads = LOADS[:2] if choice.quick else LOADS
    return spread("load", _specs((HEADLINE,), NON_COMPUTE, loads, choice), choice.seeds)


def spread(suite: str, specs: Sequence[ProxySpec], seeds: Sequence[int]) -> list[Problem]:
    """Return a problem for each spec and seed."""
    return [
        Problem(suite=suite, cell=spec.cell, seed=seed, spec=spec)
        for spec in specs
        for seed in seeds
    ]


def prepare(found: Sequence[Problem]) -> None:
    """Generate the instances of all problems in one go: starting wfcommons takes seconds.

    Raises:
        FateError: they cannot be generated, or a folder has none that can be used.
    """
    drawn = [(p.spec, p.seed) for p in found if isinstance(p.spec, ProxySpec | TokenSpec)]
    needed = [
        each
        for spec, seed in drawn
        if spec.instances is None
        for each in wanted(np.random.default_rng(spec.numbers(seed)), spec.workflows)
    ]
    if needed:
        instances(needed)
    for spec, seed in drawn:
        if spec.instances is not None:  # all are drawn from the same folder
            draw_instances(np.random.default_rng(spec.numbers(seed)), 1, spec.instances.where)
            break


def in_grid(run: Run) -> bool:
    """Whether a run is in the grid: all of `paper-proxy` but the compute control."""
    return run.settings.get("regime", CONTROL) != CONTROL


def has_tail(run: Run) -> bool:
    """Whether a run has enough workflows for a quantile of their latencies."""
    return cast("int", run.settings["workflows"]) > _NO_TAIL


def load_pools() -> list[Pool]:
    """Return a group for each number of workflows at once."""

    def of(load: int) -> Within:
        return lambda run: cast("int", run.settings["workflows"]) == load

    return [Pool(f"W{load}", of(load), of(load) if load > _NO_TAIL else never) for load in LOADS]


def pools() -> list[Pool]:
    """Return the groups of cells that are reported together."""
    return [
        Pool("headline", _headline(HEADLINE_WORKFLOWS), _headline(HEADLINE_TAIL_WORKFLOWS)),
        Pool("grid", in_grid, _grid_tail),
        *[
            Pool(f"regime {name}", _of("regime", name), _of("regime", name, tail=True))
            for name in REGIMES
        ],
        *[
            Pool(f"cluster {name}", _of("cluster", name), _of("cluster", name, tail=True))
            for name in CLUSTERS
        ],
        Pool(MAPPING, is_token, is_token),
    ]


def headline_pools() -> list[Pool]:
    """Return the groups of a suite whose cells are the headline's: all of them, each regime."""
    return [
        Pool("headline", _headline(HEADLINE_WORKFLOWS), never),
        *[Pool(f"regime {name}", _of("regime", name), never) for name in NON_COMPUTE],
    ]


def _specs(
    clusters: Sequence[ClusterKind], regimes: Sequence[str], loads: Sequence[int], choice: Choice
) -> list[ProxySpec]:
    return [
        batch(cluster, regime, load, choice)
        for load in loads
        for cluster in clusters
        for regime in regimes
    ]


def batch(cluster: ClusterKind, regime: str, workflows: int, choice: Choice) -> ProxySpec:
    """Return workflows at once; a quick run on files leaves out the large ones."""
    return ProxySpec(
        cluster=cluster,
        regime=regime,
        workflows=workflows,
        instances=choice.instances,
        most_tasks=_QUICK_TASKS if choice.quick and choice.instances else None,
    )


def _headline(workflows: int) -> Within:
    def within(run: Run) -> bool:
        settings = run.settings
        return (
            in_grid(run) and settings["cluster"] == HEADLINE and settings["workflows"] == workflows
        )

    return within


def _of(what: str, name: str, *, tail: bool = False) -> Within:
    """Cells of one regime, or of one cluster without the control."""

    def within(run: Run) -> bool:
        counted = what == "regime" or in_grid(run)
        return counted and run.settings.get(what) == name and (not tail or has_tail(run))

    return within


def _grid_tail(run: Run) -> bool:
    return in_grid(run) and has_tail(run)
