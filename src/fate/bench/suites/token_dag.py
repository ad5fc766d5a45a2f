"""real-dag's other mapping: WfCommons DAGs with token counts on the figures of real GPUs."""

from pathlib import Path

import msgspec
import numpy as np

from fate.bench.case import Case
from fate.bench.suites.given import Given
from fate.bench.suites.problem import Problem
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Choice
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import models_of, same
from fate.bench.workloads.proxy import draw_instances
from fate.bench.workloads.rigs import rig
from fate.bench.workloads.token_graphs import token_graph

MAPPING = "tokens"
#: Workflows at once: on eight GPUs of four to eight slots fewer would not queue.
_WORKFLOWS = 8
#: Tells the draws of instances from those of `paper-proxy`.
_DRAWS = 7
_RIGS = ("homog", "mild", "hetero")


class TokenSpec(msgspec.Struct, frozen=True, kw_only=True, tag=MAPPING):
    """So many workflows at once on a rig; `artefacts` says whether files are fetched.

    `instances` is a folder or none, as for `paper-proxy`.
    """

    gpus: str
    artefacts: bool
    workflows: int = _WORKFLOWS
    instances: Given | None = None

    @property
    def cell(self) -> str:
        """The cell's name."""
        return f"{MAPPING}/{self.gpus}{'/artefacts' if self.artefacts else ''}/W{self.workflows}"

    def numbers(self, seed: int) -> list[int]:
        """Return what seeds the draw: the same DAGs with artefacts and without, on every rig."""
        return [seed, _DRAWS, self.workflows]

    def case(self, seed: int, store: Path) -> Case:  # nothing to keep
        """Make the case."""
        folder = None if self.instances is None else self.instances.where
        draw = np.random.default_rng(self.numbers(seed))
        drawn = draw_instances(draw, self.workflows, folder)
        arrivals = [
            same(token_graph(instance, f"w{i}", artefacts=self.artefacts))
            for i, instance in enumerate(drawn)
        ]
        return make_case(arrivals, rig(self.gpus, models_of(arrivals)), seed)


def token_problems(suite: str, choice: Choice) -> list[Problem]:
    """Return every rig, answers alone, and `mild` with the files that tasks hand on."""
    specs = [(gpus, False) for gpus in _RIGS] + [("mild", True)]
    return [
        Problem(suite=suite, cell=spec.cell, seed=seed, spec=spec)
        for gpus, artefacts in specs
        for spec in [TokenSpec(gpus=gpus, artefacts=artefacts, instances=choice.instances)]
        for seed in choice.seeds
    ]


def is_token(run: Run) -> bool:
    """Whether a run is of this mapping."""
    return run.settings.get("type") == MAPPING
