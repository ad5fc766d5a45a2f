"""Write docs/baselines.md from the baselines' own docstrings.

    .venv/bin/python docs/generate_baselines.py

`tests/meta/test_docs.py` fails while the page differs from what this prints.
"""

import inspect
import re
from pathlib import Path

from fate.bench.rivals import RIVALS, Rival
from fate.registry import resolve

PAGE = Path(__file__).with_name("baselines.md")
INTRO = """# Baselines

Written by `docs/generate_baselines.py` from the policies' own words. A plain name is a rule as
published; `-state` sees loads, evictions and cached prefixes, `-late` is bound when it starts, both
by us. All get the same snapshots, evictions and moves. *Published* ones can be the best published
baseline of a suite, *late* ones the best with late binding; *ours* are either variants or our own
ideas. Options are set with `--set NAME=VALUE`. Each has a case worked out by hand, step by step, in
`tests/unit/policy/baselines`.
"""
FAMILIES = {
    "heuristic": "Rules for independent calls",
    "classical": "Scheduling of task graphs",
    "serving": "Systems that serve workflows",
    "system": "What people run every day",
}
_PARTS = ("Source", "Rule", "Deviations")


def entry(name: str, rival: Rival) -> str:
    """Return the section of a baseline."""
    summary, _, rest = (inspect.getdoc(resolve("policy", name)) or "").partition("\n\n")
    text = re.sub(r"\s+", " ", rest)
    cuts = [text.index(f"{part}:") for part in _PARTS]
    ends = [*cuts[1:], len(text)]
    parts = [
        f"- **{part}.** {_sentence(text[start + len(part) + 1 : end])}"
        for part, start, end in zip(_PARTS, cuts, ends, strict=True)
    ]
    origin = "published" if rival.published else "ours"
    if "source: reconstruction" in text.lower():
        origin = "reconstructed from an abstract"
    binding = "late binding" if rival.late else "early binding"
    return "\n".join([f"### {name}", "", f"{summary} *{origin}, {binding}*", "", *parts, ""])


def _sentence(text: str) -> str:
    """Return a part with a capital letter, and docstring names as names of policies."""
    text = re.sub(r"`([a-z]+(?:_[a-z]+)+)`", lambda found: f"`{found[1].replace('_', '-')}`", text)
    text = text.strip()
    return text[:1].upper() + text[1:]


def page() -> str:
    """Return the whole page."""
    parts = [INTRO]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}\n")
        parts += [entry(name, rival) for name, rival in RIVALS.items() if rival.family == family]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
