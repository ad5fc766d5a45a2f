"""LLM workflows by template, in numbers, and the cells of the llm-native suite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from fate.bench.case import Case
from fate.bench.workloads import templates
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import Arrival, Draft, models_of
from fate.bench.workloads.lengths import generator
from fate.bench.workloads.rigs import Setting, rig
from fate.bench.workloads.templates import Template
from fate.bench.workloads.trading import trading
from fate.domain.errors import FateError

TEMPLATES: dict[str, Template] = {
    "chain": templates.chain,
    "code-agent": templates.code_agent,
    "debate": templates.debate,
    "mapreduce": templates.mapreduce,
    "metagpt": templates.metagpt,
    "rag": templates.rag,
    "reason": templates.reason,
    "reflection": templates.reflection,
    "short-agent": partial(templates.code_agent, turns=10),
    "trading": trading,
    "tree": templates.tree,
    "vote": templates.vote,
}


def llm_native(
    seed: int = 0, count: int = 8, templates: str | Sequence[str] = "all"
) -> list[Arrival]:
    """LLM workflows with the shapes and token numbers measured on real ones.

    Args:
        seed: of every draw.
        count: how many workflows, all at 0 s.
        templates: a name in `TEMPLATES`, or several to take in turn; `all` takes each.

    Raises:
        FateError: no such template.
    """
    names = [templates] if isinstance(templates, str) else list(templates)
    if names == ["all"]:
        names = list(TEMPLATES)
    return [_workflow(names[n % len(names)], n, seed) for n in range(count)]


def _workflow(template: str, number: int, seed: int) -> Arrival:
    if template not in TEMPLATES:
        raise FateError(f"unknown workflow template {template!r}; known: {', '.join(TEMPLATES)}")
    draft = Draft(f"{template}-{number}", generator("llm-native", seed, template, number))
    TEMPLATES[template](draft)
    return draft.done()


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeCell:
    """Workflows that run together, and on what.

    Attributes:
        templates: taken in turn.
        count: how many workflows.
        gpus: a rig.
        setting: how it is used.
    """

    templates: tuple[str, ...]
    count: int
    gpus: str
    setting: Setting = field(default_factory=Setting)

    def case(self, seed: int) -> Case:
        """Return the cell's case of a seed, all workflows at 0 s."""
        arrivals = llm_native(seed, self.count, self.templates)
        return make_case(arrivals, rig(self.gpus, models_of(arrivals), self.setting), seed)


_MIX = ("vote", "reason", "mapreduce", "debate", "metagpt", "reflection", "rag", "short-agent")

#: One shape each where it is at home, then all of them together on each rig, and with weights that
#: come from disk. None has more than 250 model calls.
LLM_NATIVE_CELLS: dict[str, NativeCell] = {
    "vote": NativeCell(templates=("vote",), count=24, gpus="mixed-4"),
    "reason": NativeCell(templates=("reason",), count=24, gpus="mixed-4"),
    "rag": NativeCell(templates=("rag",), count=24, gpus="mixed-4"),
    "metagpt": NativeCell(templates=("metagpt",), count=24, gpus="mixed-4"),
    "mapreduce": NativeCell(templates=("mapreduce",), count=12, gpus="mild"),
    "debate": NativeCell(templates=("debate",), count=24, gpus="mild"),
    "reflection": NativeCell(templates=("reflection",), count=10, gpus="mild"),
    "documents": NativeCell(templates=("tree", "chain", "chain"), count=10, gpus="hetero"),
    "agents": NativeCell(templates=("short-agent",), count=24, gpus="mixed-4"),
    "trading": NativeCell(templates=("trading",), count=2, gpus="hetero"),
    **{
        f"mix-{gpus}": NativeCell(templates=_MIX, count=24, gpus=gpus)
        for gpus in ("mixed-4", "homog", "mild", "hetero")
    },
    "mix-disk": NativeCell(templates=_MIX, count=24, gpus="mild", setting=Setting(loading="disk")),
}
