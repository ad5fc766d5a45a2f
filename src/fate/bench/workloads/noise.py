"""Cases in which estimates are wrong: noise, bias, and hints that mislead.

The truth of the given case is kept wherever it is the estimates that are changed, so that every
policy meets the same world and results over the same baseline compare.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping

import msgspec

from fate.bench.case import Case
from fate.bench.workloads.draft import with_lengths
from fate.bench.workloads.lengths import generator
from fate.cost.profile import CallCosts, Coefficients, Profile
from fate.domain.graph import Graph


def noisy(case: Case, sigma: float) -> Case:
    """Return the case with log-normal factors of mean 1 on true durations and answers' lengths.

    Longer answers make the prompts longer that read them. Policies see none of it in advance.
    """
    actual = {
        graph.id: _noisy_lengths(graph, sigma, generator("lengths", case.seed, graph.id))
        for graph in _actual(case).values()
    }
    return _with_truth(dataclasses.replace(case), actual, noise=sigma)


def foreknown(case: Case) -> Case:
    """Return the case with every length and tool declared as it turns out."""
    actual = _actual(case)
    arrivals = tuple([(at_s, actual[graph.id]) for at_s, graph in case.arrivals])
    return dataclasses.replace(case, arrivals=arrivals)


def biased(case: Case, factor: float) -> Case:
    """Return the case with what policies believe of calls and answers times a factor.

    Below 1 they are too hopeful. Seconds of prefill and decode, and tokens of answers, so that the
    seconds that an answer is believed to take are wrong by the square of the factor; loads are
    known, so that it is not all times that are stretched alike, which no decision would notice.
    """
    profile = Profile(
        costs={
            device: {model: _scaled(costs, factor) for model, costs in row.items()}
            for device, row in case.profile.costs.items()
        },
        slowdown=case.profile.slowdown,
        source=case.profile.source,
    )
    changed = _declared_as(case, lambda graph: {stage.id: factor for stage in graph.stages})
    return dataclasses.replace(changed, profile=profile)


def wrong_lengths(case: Case, factor: float = 2.0) -> Case:
    """Return the case with each stage's answer declared too long or too short by a factor.

    Which of the two is drawn for each stage; stages of the same name in workflows of one family
    draw alike, as a template's author is wrong in the same way each time.
    """

    def factors(graph: Graph) -> Mapping[str, float]:
        family = graph.id.rpartition("-")[0]
        return {
            stage.id: factor ** generator("hint", case.seed, family, stage.id).choice((-1, 1))
            for stage in graph.stages
        }

    return _declared_as(case, factors)


def stale_prefixes(case: Case, share: float) -> Case:
    """Return the case with engines that have lost a share of the prefixes they are said to hold.

    Each call whose prompt should be cached finds nothing with this probability.
    """
    return dataclasses.replace(case, truth=dataclasses.replace(case.truth, forget_rate=share))


def _declared_as(case: Case, factors: Callable[[Graph], Mapping[str, float]]) -> Case:
    """Declare answers as factors say; what happens stays."""
    actual = _actual(case)
    arrivals = [(at_s, _declared(graph, factors(graph))) for at_s, graph in case.arrivals]
    return _with_truth(dataclasses.replace(case, arrivals=tuple(arrivals)), actual)


def _declared(graph: Graph, factors: Mapping[str, float]) -> Graph:
    """Return a graph with answers declared longer or shorter, whatever their limits."""
    stages = [
        msgspec.structs.replace(stage, max_tokens=0) if stage.output_tokens else stage
        for stage in graph.stages
    ]
    limits = {stage.id: stage.max_tokens for stage in graph.stages}
    changed = with_lengths(msgspec.structs.replace(graph, stages=tuple(stages)), factors)
    restored = [
        msgspec.structs.replace(s, max_tokens=max(limits[s.id], round(s.output_tokens)))
        for s in changed.stages
    ]
    return msgspec.structs.replace(changed, stages=tuple(restored))


def _noisy_lengths(graph: Graph, sigma: float, draw: random.Random) -> Graph:
    factors = {stage.id: draw.lognormvariate(-sigma * sigma / 2, sigma) for stage in graph.stages}
    return with_lengths(graph, factors)


def _actual(case: Case) -> dict[str, Graph]:
    """Return what every workflow turns out to be."""
    return {graph.id: case.truth.actual.get(graph.id, graph) for _, graph in case.arrivals}


def _with_truth(case: Case, actual: Mapping[str, Graph], noise: float | None = None) -> Case:
    changed = dataclasses.replace(case.truth, actual=actual)
    if noise is not None:
        changed = dataclasses.replace(changed, noise=noise)
    return dataclasses.replace(case, truth=changed)


def _scaled(costs: CallCosts, factor: float) -> CallCosts:
    def each(one: Coefficients) -> Coefficients:
        return (one[0] * factor, one[1] * factor, one[2] * factor)

    return msgspec.structs.replace(costs, prefill=each(costs.prefill), decode=each(costs.decode))
