"""Helium's trading workflow: 88 calls of 19 agents on ten levels, with its measured tokens.

Prompts and answers are Helium's shipped profiles (mlsys-io/helium_demo); that later rounds continue
their agent's context follows from their lengths. Sizes of models by role and tokens of the static
texts, within the 175 to 900 that were counted, are our choice.
"""

from fate.bench.workloads.draft import Draft
from fate.bench.workloads.lengths import Length
from fate.bench.workloads.templates import Role, step

_FULL = Length(512, 0, 512)
#: Analysts: topic -> static tokens, then mean and deviation of each prompt.
_ANALYSTS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "fundamentals": (400, ((2534, 300), (1440, 200), (1497, 200), (903, 120))),
    "market": (400, ((16606, 5271), (18615, 9774))),
    "news": (300, ((1000, 250),) * 5),
    "social": (400, ((4900, 1200),) * 3),
}
#: Prompts of those who merge, by topic.
_MERGES = {"fundamentals": 2512, "market": 1859, "news": 2838, "social": 2185}
_RISKS = ("risky", "safe", "neutral")


def trading(draft: Draft, traders: int = 8) -> None:
    """Analysts, two researchers in debate, traders, three risk analysts each, a fund manager."""
    reports = [_topic(draft, topic) for topic in _ANALYSTS]
    decision = _research(draft, reports)
    verdicts = [_trader(draft, t, decision, reports) for t in range(traders)]
    fund = Role("trading:fund", "qwen3-32b-awq", 175, Length(291 + 512 * traders), _FULL)
    step(draft, "fund", fund, verdicts)


def _topic(draft: Draft, topic: str) -> str:
    static, prompts = _ANALYSTS[topic]
    notes = [
        step(
            draft,
            f"{topic}{k}",
            Role(f"trading:{topic}", "llama-8b", static, Length(mean, sd), _FULL),
        )
        for k, (mean, sd) in enumerate(prompts)
    ]
    merge = Role("trading:merge", "llama-8b", 200, Length(_MERGES[topic]), _FULL)
    return step(draft, topic, merge, notes)


def _research(draft: Draft, reports: list[str]) -> str:
    """Bull and bear, each twice, then the manager's decision."""
    sides = ("bull", "bear")
    first = [
        step(draft, side, Role(f"trading:{side}", "qwen3-14b", 175, Length(2320), _FULL), reports)
        for side in sides
    ]
    second = [
        step(
            draft,
            f"{side}-again",
            Role(f"trading:{side}", "qwen3-14b", 175, Length(3375), _FULL),
            [first[1 - k]],
            continues=first[k],
        )
        for k, side in enumerate(sides)
    ]
    manager = Role("trading:manager", "qwen3-14b", 300, Length(2288), _FULL)
    return step(draft, "manager", manager, second)


def _trader(draft: Draft, number: int, decision: str, reports: list[str]) -> str:
    """A trader's plan, two rounds of its three risk analysts, the verdict."""
    role = Role("trading:trader", "llama-3b", 175, Length(777), Length(473, 29, 512))
    plan = step(draft, f"trader{number}", role, [decision])
    first = [
        step(
            draft,
            f"trader{number}-{risk}",
            Role(f"trading:{risk}", "llama-8b", 175, Length(2750, 30), _FULL),
            [plan, *reports],
        )
        for risk in _RISKS
    ]
    second = [
        step(
            draft,
            f"trader{number}-{risk}-again",
            Role(f"trading:{risk}", "llama-8b", 175, Length(4850), _FULL),
            [other for i, other in enumerate(first) if i != k],
            continues=first[k],
        )
        for k, risk in enumerate(_RISKS)
    ]
    verdict = Role("trading:verdict", "llama-8b", 300, Length(3366), _FULL)
    return step(draft, f"trader{number}-verdict", verdict, second)
