"""A decision in words: what won, and what each other device would have made of it."""

import msgspec

from fate.view.explain import Decision, Option, Terms

#: Differences below this are not worth a clause [s].
_WORTH_S = 0.005
#: Clauses are given, largest first, until they explain this share of a difference.
_ENOUGH = 0.9


#: What the terms are called in a sentence.
TERM_NAMES = {
    "queue": "waiting",
    "unload": "unloading",
    "load": "loading the model",
    "transfer": "fetching inputs",
    "prefill": "prompt processing",
    "decode": "decoding",
    "regret": "what comes after it",
}


def sentences(decision: Decision) -> tuple[str, ...]:
    """Return what won and why; then, for each other device that could, what would have been.

    The runner-up comes first, then devices by cost.
    """
    chosen = next((option for option in decision.options if option.chosen), None)
    others = [o for o in decision.options if not o.chosen and o.cost_s is not None]
    others.sort(key=lambda option: option.cost_s or 0.0)
    if chosen is None or chosen.cost_s is None:
        return ("No device was to have it yet: the plan left it waiting.",)
    return (_verdict(decision, others), *[counterfactual(chosen, other) for other in others])


def counterfactual(chosen: Option, other: Option) -> str:
    """Return when a chunk would have ended on another device, and because of what."""
    assert chosen.finish_s is not None
    assert other.finish_s is not None
    later_s = other.finish_s - chosen.finish_s
    if abs(later_s) < _WORTH_S:
        text = f"On {other.device} it would have ended at the same time"
        return f"{text}{_regret(chosen, other, later_s)}."
    word = "later" if later_s > 0 else "earlier"
    text = f"On {other.device} it would have ended {seconds(abs(later_s))} {word}"
    because = _clauses(chosen, other, later_s)
    text += f" because {_listed(because)}" if because else ""
    return f"{text}{_regret(chosen, other, later_s)}."


def seconds(value_s: float) -> str:
    """Render seconds: `3.2 s`, or `45 ms` where that says more."""
    return f"{1000 * value_s:.0f} ms" if value_s < 0.1 else f"{value_s:.1f} s"


def _verdict(decision: Decision, others: list[Option]) -> str:
    where = f"{decision.chosen} won"
    if not others:
        return f"{where}: no other device could run it."
    by = f"by {seconds(abs(decision.lost_by_s))} over {decision.runner_up}"
    if decision.lost_by_s < 0:
        return (
            f"{decision.chosen} took it although it alone would have cost "
            f"{seconds(-decision.lost_by_s)} less on {decision.runner_up}: the plan as a whole "
            f"does better so."
        )
    what = TERM_NAMES.get(decision.lost_on, decision.lost_on)
    return f"{where} {by}" + (f", most of it {what}." if decision.lost_by_s >= _WORTH_S else ".")


def _clauses(chosen: Option, other: Option, later_s: float) -> list[str]:
    """Return what makes up a difference, largest first."""
    assert chosen.terms is not None
    assert other.terms is not None
    ours, theirs = msgspec.structs.asdict(chosen.terms), msgspec.structs.asdict(other.terms)
    sign = 1.0 if later_s > 0 else -1.0
    parts = [
        (sign * (theirs[term] - ours[term]), term)
        for term in Terms.__struct_fields__
        if term != "regret_s"
    ]
    parts.sort(key=lambda part: -part[0])
    clauses: list[str] = []
    left_s = _ENOUGH * abs(later_s)
    for size_s, term in parts:
        if left_s <= 0.0 or size_s < _WORTH_S:
            break
        left_s -= size_s
        clauses.append(_clause(term, size_s, chosen, other, later=later_s > 0))
    return clauses


def _clause(term: str, size_s: float, chosen: Option, other: Option, *, later: bool) -> str:
    """Word one term's difference: what is done there and not here, or more of it, or less."""
    size = seconds(size_s)
    here, there = getattr(chosen.terms, term), getattr(other.terms, term)
    more, less = (there, here) if later else (here, there)
    only = less < _WORTH_S < more
    match term:
        case "load_s" if only:
            done = "would have to be loaded" if later else "is loaded there already"
            return f"the model {done} ({size})"
        case "unload_s" if only and later:
            return f"{_listed(list(other.evicts))} would have to be unloaded ({size})"
        case "unload_s" if only:
            return f"nothing has to be unloaded there ({size})"
        case "queue_s" if only:
            return f"it would have to wait there ({size})" if later else f"it is free now ({size})"
        case "prefill_s":
            return _tokens(size, other.new_tokens - chosen.new_tokens, later=later)
        case _:
            name = TERM_NAMES.get(term.removesuffix("_s"), term.removesuffix("_s"))
            return f"{name} takes {size} {'longer' if later else 'less'} there"


def _tokens(size: str, new: float, *, later: bool) -> str:
    if later and new >= 1.0:
        return f"{new:.0f} more prompt tokens would have to be computed ({size})"
    if not later and new <= -1.0:
        return f"{-new:.0f} more prompt tokens are cached there ({size})"
    return f"prompt processing takes {size} {'longer' if later else 'less'} there"


def _regret(chosen: Option, other: Option, later_s: float) -> str:
    """Say what the stages after it have to do with it, where that turns the balance or adds."""
    assert chosen.terms is not None
    assert other.terms is not None
    after_s = other.terms.regret_s - chosen.terms.regret_s
    if abs(after_s) < _WORTH_S:
        return ""
    joint = "and" if (after_s > 0) == (later_s > 0) else "but"
    what = f"lose another {seconds(after_s)}" if after_s > 0 else f"gain {seconds(-after_s)}"
    return f", {joint} later stages would {what}"


def _listed(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
