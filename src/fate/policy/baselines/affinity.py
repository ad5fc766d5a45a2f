"""Rules that follow data: where parents' outputs lie, or where a prompt's start is cached."""

from functools import partial

from fate.domain.errors import FateError
from fate.policy.listing import Binding, ListPolicy, arrival
from fate.policy.measures import Bounded, Locality, Prefix

#: What deployments of bounded loads use, 1.25 times the mean, as in KubeAI and brpc; the best of
#: 1.1 to 3 for the other rules here, by `fate bench tune --quick` on development seeds.
CAP, TIGHT = 1.25, 1.1


def _row(name: str, measure: type[Bounded], binding: Binding, cap: float) -> ListPolicy:
    if not cap >= 1.0:
        raise FateError(f"policy {name}: cap must be at least 1 (times the mean load), not {cap}")
    return ListPolicy(name=name, rank=arrival, measure=partial(measure, cap=cap), binding=binding)


def locality_first(cap: float = TIGHT) -> ListPolicy:
    """Bind each chunk to where its parents' outputs are, within a bound on load.

    Source: Ray's default placement of tasks, which prefers the node that holds most bytes of a
    task's arguments (docs.ray.io, "Locality-aware scheduling"); loads bounded as in Mirrokni et
    al., arXiv:1608.01350. Rule: arrival order; the device with the fewest seconds to gather the
    parents' outputs, of equal ones that on which most of the parents ran, then the less loaded,
    of those whose outstanding seconds are at most `cap` times the mean; final. Deviations:
    seconds in place of bytes, since links differ; outstanding seconds in place of free resources,
    as a device here is one slot or a few; `cap` is 1.1, tuned on development seeds.
    """
    return _row("locality-first", Locality, "immediate", cap)


def locality_first_late(cap: float = TIGHT) -> ListPolicy:
    """Let each chunk wait for where its parents' outputs are, within a bound on load.

    Source: as `locality_first`. Rule: the same, for every ready chunk anew with every plan: a
    chunk is bound when it starts. Deviations: late binding is ours; otherwise as there.
    """
    return _row("locality-first-late", Locality, "late", cap)


def prefix_affinity(cap: float = CAP) -> ListPolicy:
    """Bind each chunk to where most of its prompt is cached, within a bound on load.

    Source: cache-aware routing as in SGLang's router and in KubeAI's prefix hashing with bounded
    loads (Mirrokni et al., arXiv:1608.01350, factor 1.25). Rule: arrival order; the device with
    the longest cached start of the prompt, counting what chunks bound before will leave there,
    the less loaded among equals, of those whose outstanding seconds are at most `cap` times the
    mean; final. Deviations: the true cache in place of a router's guess at it; seconds of work in
    place of a number of requests; a model that is not loaded has nothing cached, and nothing
    else is seen of loading.
    """
    return _row("prefix-affinity", Prefix, "immediate", cap)


def prefix_affinity_late(cap: float = TIGHT) -> ListPolicy:
    """Let each chunk wait for where most of its prompt is cached, within a bound on load.

    Source: as `prefix_affinity`. Rule: the same, for every ready chunk anew with every plan: a
    chunk is bound when it starts. Deviations: late binding is ours, and `cap` is 1.1, tuned on
    development seeds; otherwise as there.
    """
    return _row("prefix-affinity-late", Prefix, "late", cap)
