"""What a decision of `foresight` may spend, counted in plans that are carried out.

The options bound it by nodes and by what is new. Time bounds it too: searching may take a share of
what the devices work until the end that is expected, half of it where nodes are new, in
proportion, and half at every decision. Where calls take seconds the options decide; where a
decision falls every few milliseconds little is searched. Times are modelled, not measured, so that
the same snapshot always gives the same plan.
"""

from typing import NamedTuple

from fate.policy.foresight.options import ForesightOptions

#: Share of the devices' time that each half may take. With a third of it what eight devices do in
#: half a minute takes a tenth longer.
_SHARE = 0.03
#: Seconds on a 2.6 GHz core with the compiled kernel: of a projection, fixed and for each node that
#: it starts; of a rule, for each node, fixed and for each ready node and device; of asking `fate`,
#: fixed and for each device and pair of ready nodes.
_PROJECTION_S, _START_S = 1e-5, 3e-7
_RULE_S, _CHOICE_S = 2e-6, 2.5e-8
_ASK_S, _PAIR_S = 2e-3, 6e-7
#: Part of the search that rules may take.
_RULES = 0.2


class Budget(NamedTuple):
    """Rules carried out, plans annealed, plans perturbed."""

    rules: int
    anneal: int
    projections: int

    @property
    def moves(self) -> int:
        """Plans tried in all."""
        return self.rules + self.anneal + self.projections


#: What budgets are divided by; a projection of the reference takes a hundred times as long.
_PARTS: dict[str, Budget] = {"reference": Budget(rules=30, anneal=300, projections=10)}
_ALL = Budget(1, 1, 1)


class Scene(NamedTuple):
    """What a budget depends on: nodes, ready ones, share of new ones, devices, time left [s]."""

    nodes: int
    ready: int
    share: float
    devices: int
    left_s: float


def budget(options: ForesightOptions, scene: Scene, kernel: str) -> Budget:
    """Return what a decision may spend."""
    nodes, share = scene.nodes, scene.share
    half_s = _SHARE * scene.devices * max(scene.left_s, 0.0)
    each_s = _PROJECTION_S + _START_S * nodes
    rule_s = nodes * (_RULE_S + _CHOICE_S * scene.ready * scene.devices)
    rules = min(options.rules, options.rule_steps // nodes) * share
    anneal = min(options.anneal * nodes, options.anneal_steps // nodes) * share
    projections = min(options.projections, options.steps // nodes)
    part = _PARTS.get(kernel, _ALL)
    return Budget(
        rules=int(min(rules, _RULES * half_s * share / rule_s)) // part.rules,
        anneal=int(min(anneal, (1.0 - _RULES) * half_s * share / each_s)) // part.anneal,
        # n decisions are left, and the time before each shrinks: twice the mean makes the half
        projections=int(min(projections, 2.0 * half_s / nodes / each_s)) // part.projections,
    )


def may_ask(scene: Scene) -> bool:
    """Whether there is time to ask `fate` about the frontier: it compares ready nodes in pairs."""
    ask_s = _ASK_S + _PAIR_S * scene.devices * scene.ready * scene.ready
    return ask_s <= _SHARE * scene.devices * scene.left_s * scene.share
