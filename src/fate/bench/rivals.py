"""Traits of the baselines, by which suites choose and group them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: heuristic: a rule for independent calls. classical: scheduling of task graphs. serving: proxies
#: of systems that serve workflows. system: what people run every day.
Family: TypeAlias = Literal["heuristic", "classical", "serving", "system"]

#: Policies that are no baselines: the paper's, and what goes past it.
PLANNERS: tuple[str, ...] = ("fate", "foresight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What a baseline is.

    `published`: rule, what it sees and its binding are those of its source, up to the deviations
    in its docstring. `late`: a call is bound to a device when it starts, not before. `ours`: we
    gave the rule state-conditional costs or late binding, or thought of it ourselves.
    `reconstructed`: neither text nor code of the source is public, only its abstract; what that
    leaves open, binding among it, is our guess, so that it is neither as published nor ours.
    """

    family: Family
    published: bool
    late: bool
    ours: bool
    reconstructed: bool = False


def _published(family: Family, *, late: bool = False) -> Rival:
    return Rival(family=family, published=True, late=late, ours=False)


def _ours(family: Family, *, late: bool = True) -> Rival:
    return Rival(family=family, published=False, late=late, ours=True)


def _reconstructed(family: Family, *, late: bool) -> Rival:
    return Rival(family=family, published=False, late=late, ours=False, reconstructed=True)


RIVALS: dict[str, Rival] = {
    "arrival-lru": _published("system", late=True),
    "atlas": _published("serving"),
    "atlas-late": _ours("serving"),
    "ayo": _published("serving"),
    "ayo-late": _ours("serving"),
    "continuum": _published("serving"),
    "continuum-late": _ours("serving"),
    "cpop": _published("classical"),
    "cpop-state": _ours("classical", late=False),
    "eft": _ours("heuristic", late=False),
    "halo": _published("serving"),
    "halo-heuristic": _published("serving"),
    "halo-heuristic-late": _ours("serving"),
    "halo-late": _ours("serving"),
    "heft": _published("classical"),
    "heft-frontier": _published("classical"),
    "heft-late": _ours("classical"),
    "heft-state": _ours("classical", late=False),
    "helium": _published("serving"),
    "helium-late": _ours("serving"),
    "idle-affinity": _ours("heuristic"),
    "kvflow": _published("serving"),
    "kvflow-late": _ours("serving"),
    "late-eft": _ours("heuristic"),
    "latency-aware": _reconstructed("serving", late=True),
    "least-loaded": _published("heuristic"),
    "least-loaded-late": _ours("heuristic"),
    "locality-first": _published("heuristic"),
    "locality-first-late": _ours("heuristic"),
    "max-min": _published("heuristic", late=True),
    "max-min-state": _ours("heuristic"),
    "min-min": _published("heuristic", late=True),
    "min-min-state": _ours("heuristic"),
    "parrot": _published("serving"),
    "parrot-late": _ours("serving"),
    "peft": _published("classical"),
    "peft-late": _ours("classical"),
    "peft-state": _ours("classical", late=False),
    "peft-state-late": _ours("classical"),
    "plas": _published("serving"),
    "plas-late": _ours("serving"),
    "prefix-affinity": _published("heuristic"),
    "prefix-affinity-late": _ours("heuristic"),
    "random": _published("heuristic"),
    "round-robin": _published("heuristic"),
    "round-robin-idle": _ours("heuristic"),
    "shortest-job": _published("heuristic", late=True),
    "sufferage": _published("heuristic", late=True),
    "sufferage-state": _ours("heuristic"),
    "topas": _reconstructed("serving", late=True),
    "weighted-scorers": _published("system"),
    "weighted-scorers-late": _ours("system"),
}


def as_published() -> list[str]:
    """Return the baselines that are as their sources have them, sorted."""
    return sorted(name for name, rival in RIVALS.items() if rival.published)


def with_late_binding() -> list[str]:
    """Return the baselines that bind a call when it starts, sorted."""
    return sorted(name for name, rival in RIVALS.items() if rival.late)


def reconstructed() -> list[str]:
    """Return the baselines of which only an abstract is known, sorted."""
    return sorted(name for name, rival in RIVALS.items() if rival.reconstructed)
