"""Prefix reuse under control: the same DAGs, models and answers, whatever share is common.

A group of workflows has a common text and three continuations of it; a stage's prompt is the
group's text, one continuation, and text of its own. Only how the prompt's tokens are divided
between them changes with the share, so that without any reuse the work is the same.
"""

import random
from dataclasses import dataclass

from fate.bench.case import Case
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import Arrival, Draft
from fate.bench.workloads.lengths import Length, generator
from fate.bench.workloads.rigs import Setting, rig
from fate.domain.errors import FateError
from fate.domain.graph import Segment

#: Three models of equal size: groups keep to one, so devices can specialise.
MODELS = ("llama-8b", "qwen3-8b", "r1-8b")
#: Continuations of a group's text.
BRANCHES = 3
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
#: Answers are drawn evenly from these [tokens], the upper one excluded; so are middle stages.
_ANSWERS, _WIDTHS = (40, 120), (2, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What is shared.

    Attributes:
        share: of a prompt's tokens, common to others of its group.
        groups: of workflows.
        zipf: exponent of the groups' popularity; 0 makes them equally popular.
        prompt_tokens: of every stage.
    """

    share: float = 0.9
    groups: int = 12
    zipf: float = 0.0
    prompt_tokens: int = 6000

    def __post_init__(self) -> None:
        """Refuse what cannot be shared."""
        if not 0.0 <= self.share < 1.0 or self.groups < 1:
            raise FateError("prefix-reuse: share must be in [0, 1), groups at least 1")


def prefix_reuse(
    seed: int = 0,
    count: int = 60,
    share: float = 0.9,
    groups: int = 12,
    zipf: float = 0.0,
) -> list[Arrival]:
    """Workflows of a root, two to five stages and a join, with a given share of common prefixes.

    Args:
        seed: of every draw.
        count: how many workflows, all at 0 s.
        share: of each prompt's tokens that is common to a group, in [0, 1).
        groups: of workflows.
        zipf: exponent of the groups' popularity; 0 makes them equally popular.
    """
    return shared_workflows(seed, count, Sharing(share=share, groups=groups, zipf=zipf))


def shared_workflows(seed: int, count: int, sharing: Sharing) -> list[Arrival]:
    """Return workflows that share prefixes; only tokens of segments depend on the share."""
    weights = [1.0 / (group + 1) ** sharing.zipf for group in range(sharing.groups)]
    made: list[Arrival] = []
    for number in range(count):
        draw = generator("prefix-reuse", seed, number)
        group = draw.choices(range(sharing.groups), weights)[0]
        made.append(_workflow(Draft(f"reuse-{number}", draw), group, sharing))
    return made


def _workflow(draft: Draft, group: int, sharing: Sharing) -> Arrival:
    model, draw = MODELS[group % len(MODELS)], draft.generator
    prefix = _prefix(group, draw.randrange(BRANCHES), sharing)

    def call(name: str, reads: list[str]) -> str:
        known = sum([segment.tokens for segment in prefix]) + sum(map(draft.expected, reads))
        own = draft.text(Length(sharing.prompt_tokens - known))
        return draft.call(name, model, [*prefix, own], _answer(draw), reads)

    root = call("root", [])
    middle = [call(f"middle{k}", [root]) for k in range(draw.randrange(*_WIDTHS))]
    call("join", middle)
    return draft.done()


def _prefix(group: int, branch: int, sharing: Sharing) -> list[Segment]:
    """Return the group's text and a continuation, half of the shared tokens each."""
    shared = round(sharing.share * sharing.prompt_tokens)
    if not shared:
        return []
    first, key = max(shared // 2, 1), f"group{group}"
    return [Segment(key, first), Segment(f"{key}/{branch}", max(shared - first, 1))]


def _answer(draw: random.Random) -> Length:
    tokens = draw.randrange(*_ANSWERS)
    return Length(tokens, 0, tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseCell:
    """How much is shared, by how many workflows, and where.

    Attributes:
        sharing: what is shared.
        count: how many workflows.
        gpus: a rig.
        cache_tokens_per_gib: what devices cache; some 15 % of what they have elsewhere, and at
            high shares far less than all groups need.
        slots: calls at once.
    """

    sharing: Sharing
    count: int = 60
    gpus: str = "mild"
    cache_tokens_per_gib: float = 470.0
    slots: int = 1

    def case(self, seed: int) -> Case:
        """Return the cell's case of a seed, all workflows at 0 s."""
        used = Setting(
            prompt=float(self.sharing.prompt_tokens),
            output=sum(_ANSWERS) / 2.0,
            cache_tokens_per_gib=self.cache_tokens_per_gib,
            slots=self.slots,
        )
        arrivals = shared_workflows(seed, self.count, self.sharing)
        return make_case(arrivals, rig(self.gpus, MODELS, used), seed)


#: Shares on the same DAGs, then skewed popularity, few and many groups at one share.
PREFIX_REUSE_CELLS: dict[str, ReuseCell] = {
    **{f"share-{share}": ReuseCell(sharing=Sharing(share=share)) for share in SHARES},
    "skew-1": ReuseCell(sharing=Sharing(share=0.75, zipf=1.0)),
    "groups-4": ReuseCell(sharing=Sharing(share=0.75, groups=4)),
    "groups-36": ReuseCell(sharing=Sharing(share=0.75, groups=36)),
}
