"""The plug-in tables: which names exist, and what they stand for.

A line in `BUILTIN` registers a plug-in of this project; other distributions use the entry point
groups `fate.policy`, `fate.engine` and `fate.workload`. Values are import strings, so that listing
names imports nothing.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import msgspec

from fate.domain.errors import FateError

#: Options annotated so are checked before a plug-in sees them.
_PLAIN_TYPES = (bool, int, float)

BUILTIN: dict[str, dict[str, str]] = {
    "policy": {
        "arrival-lru": "fate.policy.baselines.daily:arrival_lru",
        "atlas": "fate.policy.baselines.autellix:atlas",
        "atlas-late": "fate.policy.baselines.autellix:atlas_late",
        "ayo": "fate.policy.baselines.ayo:ayo",
        "ayo-late": "fate.policy.baselines.ayo:ayo_late",
        "continuum": "fate.policy.baselines.continuum:continuum",
        "continuum-late": "fate.policy.baselines.continuum:continuum_late",
        "cpop": "fate.policy.baselines.classical:cpop",
        "cpop-state": "fate.policy.baselines.classical:cpop_state",
        "eft": "fate.policy.baselines.greedy:eft",
        "fate": "fate.policy.fate.policy:FatePolicy",
        "foresight": "fate.policy.foresight.policy:ForesightPolicy",
        "halo": "fate.policy.baselines.halo_beam:halo",
        "halo-heuristic": "fate.policy.baselines.halo_heuristic:HaloHeuristic",
        "halo-heuristic-late": "fate.policy.baselines.halo_heuristic:halo_heuristic_late",
        "halo-late": "fate.policy.baselines.halo_beam:halo_late",
        "heft": "fate.policy.baselines.classical:heft",
        "heft-frontier": "fate.policy.baselines.classical:heft_frontier",
        "heft-late": "fate.policy.baselines.classical:heft_late",
        "heft-state": "fate.policy.baselines.classical:heft_state",
        "helium": "fate.policy.baselines.helium:Helium",
        "helium-late": "fate.policy.baselines.helium:helium_late",
        "idle-affinity": "fate.policy.baselines.greedy:IdleAffinity",
        "kvflow": "fate.policy.baselines.kvflow:kvflow",
        "kvflow-late": "fate.policy.baselines.kvflow:kvflow_late",
        "late-eft": "fate.policy.baselines.greedy:LateEft",
        "latency-aware": "fate.policy.baselines.latency_aware:LatencyAware",
        "least-loaded": "fate.policy.baselines.queueing:least_loaded",
        "least-loaded-late": "fate.policy.baselines.queueing:least_loaded_late",
        "locality-first": "fate.policy.baselines.affinity:locality_first",
        "locality-first-late": "fate.policy.baselines.affinity:locality_first_late",
        "max-min": "fate.policy.baselines.batch_mode:max_min",
        "max-min-state": "fate.policy.baselines.batch_mode:max_min_state",
        "min-min": "fate.policy.baselines.batch_mode:min_min",
        "min-min-state": "fate.policy.baselines.batch_mode:min_min_state",
        "parrot": "fate.policy.baselines.parrot:parrot",
        "parrot-late": "fate.policy.baselines.parrot:parrot_late",
        "peft": "fate.policy.baselines.classical:peft",
        "peft-late": "fate.policy.baselines.classical:peft_late",
        "peft-state": "fate.policy.baselines.classical:peft_state",
        "peft-state-late": "fate.policy.baselines.classical:peft_state_late",
        "plas": "fate.policy.baselines.autellix:plas",
        "plas-late": "fate.policy.baselines.autellix:plas_late",
        "prefix-affinity": "fate.policy.baselines.affinity:prefix_affinity",
        "prefix-affinity-late": "fate.policy.baselines.affinity:prefix_affinity_late",
        "random": "fate.policy.baselines.queueing:random_device",
        "round-robin": "fate.policy.baselines.queueing:round_robin",
        "round-robin-idle": "fate.policy.baselines.queueing:round_robin_idle",
        "shortest-job": "fate.policy.baselines.queueing:shortest_job",
        "sufferage": "fate.policy.baselines.batch_mode:sufferage",
        "sufferage-state": "fate.policy.baselines.batch_mode:sufferage_state",
        "topas": "fate.policy.baselines.topas:Topas",
        "weighted-scorers": "fate.policy.baselines.daily:weighted_scorers",
        "weighted-scorers-late": "fate.policy.baselines.daily:weighted_scorers_late",
    },
    "engine": {
        "fake": "fate.engines.fake:FakeEngine",
        "llamacpp": "fate.engines.llamacpp:LlamaCppEngine",
        "openai": "fate.engines.openai:OpenAIEngine",
    },
    "workload": {
        "llm-native": "fate.bench.workloads.native:llm_native",
        "prefix-reuse": "fate.bench.workloads.reuse:prefix_reuse",
        "trace": "fate.bench.workloads.traces:trace",
    },
}


#: A weight of an objective.
_WEIGHT = re.compile(r"\d+(\.\d*)?|\.\d+")


class UnknownPluginError(FateError):
    """A name is in no table."""

    code = "unknown-plugin"

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.kind, self.name, self.known = kind, name, known
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}."
        super().__init__(f"unknown {kind} {name!r}; {hint} See `fate list`.")


class ObjectiveError(FateError):
    """A policy is given an aim that it does not know, or cannot be given one."""

    code = "objective"


class PluginOptionError(FateError):
    """A plug-in is given an option it does not take, or a value it refuses."""

    code = "plugin-option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One registered name: the import string it stands for and the distribution it is from."""

    kind: str
    name: str
    target: str
    source: str


def plugins(kind: str) -> dict[str, Plugin]:
    """Return the plug-ins of a kind by name, sorted; a name taken twice is an error."""
    if kind not in BUILTIN:
        raise UnknownPluginError("plug-in kind", kind, sorted(BUILTIN))
    found = {
        name: Plugin(kind=kind, name=name, target=target, source="built-in")
        for name, target in BUILTIN[kind].items()
    }
    for point in entry_points(group=f"fate.{kind}"):
        if point.name in found:
            raise FateError(
                f"{kind} {point.name!r} is registered twice: by {found[point.name].source} and "
                f"by {_distribution(point)}. Uninstall one of them."
            )
        found[point.name] = Plugin(
            kind=kind, name=point.name, target=point.value, source=_distribution(point)
        )
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Return the registered names of a kind, sorted."""
    return list(plugins(kind))


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """Import the class or factory behind a name."""
    known = plugins(kind)
    if name not in known:
        raise UnknownPluginError(kind, name, list(known))
    module, _, attribute = known[name].target.partition(":")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise FateError(
            f"{kind} {name!r} ({known[name].target}, from {known[name].source}) "
            f"cannot be imported: {error}"
        ) from error
    return cast("Callable[..., Any]", target)


def build(kind: str, name: str, **options: object) -> Any:  # noqa: ANN401 - depends on the kind
    """Make the plug-in behind a name with keyword options."""
    factory = resolve(kind, name)
    accepted = inspect.signature(factory).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        for option in options:
            if option not in accepted:
                raise _unknown_option(kind, name, option, list(accepted))
    for option, value in options.items():
        if option in accepted and accepted[option].annotation in _PLAIN_TYPES:
            try:
                msgspec.convert(value, accepted[option].annotation)
            except msgspec.ValidationError as error:
                raise PluginOptionError(f"{kind} {name!r}, option {option!r}: {error}") from None
    return factory(**options)


def aim(policy: str, objective: str) -> dict[str, float]:
    """Return the options of a policy that make it aim at an objective.

    Args:
        policy: its name. It takes an objective where its class has `objectives`: options by name
            of objective, the same options for each, which are weights.
        objective: one of these names, or weights by option: `mean=0.5,tail=1`; what is not named
            counts nothing.

    Raises:
        ObjectiveError: says what there is instead.
    """
    found = aims(policy)
    if not found:
        able = [name for name in plugins("policy") if aims(name)]
        raise ObjectiveError(
            f"--objective {objective}: policy {policy!r} takes no objective; "
            f"those that do: {', '.join(able)}"
        )
    if objective in found:
        return dict(found[objective])
    known = {option: 0.0 for row in found.values() for option in row}
    if "=" not in objective:
        close = difflib.get_close_matches(objective, found, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ObjectiveError(
            f"--objective {objective}: policy {policy!r} knows {', '.join(found)}, or weights as "
            f"in {','.join(f'{option}=1' for option in known)}.{hint}"
        )
    for part in objective.split(","):
        option, _, weight = part.strip().partition("=")
        if option not in known or not _WEIGHT.fullmatch(weight):
            raise ObjectiveError(
                f"--objective {objective}: {part.strip()!r} is not a weight; write numbers from 0 "
                f"on for {', '.join(known)}, as in {next(iter(known))}=0.5"
            )
        known[option] = float(weight)
    return known


def aims(policy: str) -> Mapping[str, Mapping[str, float]]:
    """Return the objectives that a policy takes; none for most."""
    return getattr(resolve("policy", policy), "objectives", {})


def _unknown_option(kind: str, name: str, option: str, accepted: list[str]) -> PluginOptionError:
    if not accepted:
        return PluginOptionError(f"{kind} {name!r} takes no options, but {option!r} is given")
    close = difflib.get_close_matches(option, accepted, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(accepted)}"
    return PluginOptionError(f"{kind} {name!r} has no option {option!r}; {hint}")


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"
