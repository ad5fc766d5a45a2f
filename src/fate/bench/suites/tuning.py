"""`fate bench tune`: the options of baselines that have some, on development seeds.

What a source fixes is tried too: a constant that suits seconds of the one system need not suit
those of another.
"""

from collections.abc import Mapping, Sequence
from itertools import product

from fate.bench.suites.choosing import ranking
from fate.bench.suites.chosen import REFERENCE
from fate.bench.suites.results import Run
from fate.bench.suites.suite import Choice

NAME = "tune"
_CAPS = {"cap": (1.1, 1.25, 1.5, 2.0, 3.0)}
_SCORES = {"queue": (1, 2, 4), "kv": (0, 2), "prefix": (1, 3)}
_HOLDS = {"hold_s": (2.0, 8.0, 32.0)}
_LONG = {"long_prompt": (2048, 1e9)}
#: Baseline -> option -> values; every combination is tried.
GRIDS: dict[str, Mapping[str, Sequence[float]]] = {
    "locality-first": _CAPS,
    "locality-first-late": _CAPS,
    "prefix-affinity": _CAPS,
    "prefix-affinity-late": _CAPS,
    "weighted-scorers": _SCORES,
    "weighted-scorers-late": _SCORES,
    "continuum": _HOLDS,
    "continuum-late": _HOLDS,
    "plas": _LONG,
    "plas-late": _LONG,
    "atlas": _LONG,
    "atlas-late": _LONG,
    "topas": {"aging_s": (15.0, 60.0), "reuse": (0.0, 1.0)},
    "latency-aware": {
        "evicted": (0.0, 0.5, 1.0),
        "reused": (0.0, 0.5),
    },
}


def settings(name: str) -> list[str]:
    """Return a baseline with its defaults, then with every combination of its options."""
    grid = GRIDS[name]
    found = [
        "&".join(f"{option}={value:g}" for option, value in zip(grid, values, strict=True))
        for values in product(*grid.values())
    ]
    return [name, *[f"{name}?{each}" for each in found]]


def policies(choice: Choice) -> list[str]:
    """Return everything that is tried: a quick run has fewer problems, not fewer options."""
    del choice
    return [REFERENCE, *[each for name in GRIDS for each in settings(name)]]


def verdict(runs: Sequence[Run]) -> list[str]:
    """Return a line for each baseline: its best options, and what its defaults come to."""
    lines: list[str] = []
    for name in GRIDS:
        order = ranking(runs, settings(name))
        if not order:
            continue
        default = dict(order).get(name)
        rest = ", ".join(f"{_options(each)} {value:.4f}" for each, value in order[:4])
        known = "not run" if default is None else f"{default:.4f}"
        lines.append(f"{name}: {rest}; defaults {known}")
    return lines


def _options(policy: str) -> str:
    return policy.partition("?")[2] or "defaults"
