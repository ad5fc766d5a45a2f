"""A decision as a table for the terminal. Plain ASCII."""

from textwrap import wrap

import msgspec

from fate.domain.plan import Search
from fate.view.explain import Decision, Option, Terms
from fate.view.trail import Explained
from fate.view.waits import aside_lines, wait_lines
from fate.view.words import sentences

#: Columns of prose.
_WIDTH = 96

_COLUMNS = tuple(field.removesuffix("_s") for field in Terms.__struct_fields__)


def explain_text(explained: Explained) -> str:
    """Return what was decided, the price on every device, why not elsewhere, why not before."""
    decision = explained.decision
    lines = [
        f"{decision.chunk} (model {decision.model}), ready for {decision.waited_s:.2f} s",
        f"plan {decision.version} of {decision.policy} at {decision.at_s:.2f} s: "
        f"{_search(decision.search)}",
        _outcome(decision),
        "",
        *_table(decision),
        "",
        *[line for text in sentences(decision) for line in wrap(text, _WIDTH)],
    ]
    waits = wait_lines(explained.held)
    if waits:
        lines += ["", "before that it was held back:", *[f"  {line}" for line in waits]]
    if explained.aside:
        lines += ["", "while it was ready:"]
        lines += [f"  {line}" for line in aside_lines(explained.aside)]
    return "\n".join(lines)


def _search(search: Search) -> str:
    facts = [f"from {search.base}"] if search.base else []
    facts += [f"{search.moves} moves"] if search.moves else []
    facts += [f"solver {search.solver.lower()}"] if search.solver else []
    facts += ["previous plan kept"] if search.kept else []
    return ", ".join(facts) or "no search"


def _outcome(decision: Decision) -> str:
    if decision.chosen is None:
        return "left waiting: in no device's list"
    text = f"-> {decision.chosen}, position {decision.position}"
    text += ", starts now" if decision.starts_now else ", waits its turn"
    return text + (", over its wait bound" if decision.must_start else "")


def _table(decision: Decision) -> list[str]:
    """Return a row per device: seconds by term, their sum, tokens, and notes."""
    label = max(len("device"), *(len(option.device) for option in decision.options))
    head = " ".join(f"{column:>8}" for column in _COLUMNS)
    lines = [f"  {'device':{label}} {head} {'total':>8} {'ends at':>9}  tokens new/cached"]
    for option in decision.options:
        mark = "*" if option.chosen else " "
        lines.append(f"{mark} {option.device:{label}} {_row(option)}".rstrip())
    return lines


def _row(option: Option) -> str:
    if option.terms is None or option.cost_s is None or option.finish_s is None:
        return f"cannot run it: {option.why_not}"
    seconds = " ".join(f"{value:8.2f}" for value in msgspec.structs.astuple(option.terms))
    note = f"  evicts {', '.join(option.evicts)}" if option.evicts else ""
    return (
        f"{seconds} {option.cost_s:8.2f} {option.finish_s:9.2f}  "
        f"{option.new_tokens:.0f}/{option.cached_tokens:.0f}{note}"
    )
