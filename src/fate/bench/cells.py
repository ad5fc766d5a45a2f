"""The cells of `fate bench live`: which workflows run together, on which texts."""

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fate.domain.errors import FateError
from fate.workflow.compile import compile_workflow
from fate.workflow.load import load_workflow
from fate.workflow.program import Program

_FOLDER = Path(__file__).parent / "workflows"

#: Models of a cell, from the quickest to the slowest of a tier.
LETTERS = "ABC"
#: Out of phase: at any time the four chains want different models.
_MIXED_ORDERS = ("ABCAB", "BCABC", "CABCA", "ACBAC")
#: In phase: chains of equal length want the same model at the same time, whoever schedules them.
_EQUAL_ORDERS = ("ABCAB",) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One workflow of a cell: `file` names the workflow, `roles` gives a letter for each role."""

    id: str
    file: str
    inputs: Mapping[str, Any]
    roles: Mapping[str, str]

    @property
    def program(self) -> Program:
        """The workflow itself."""
        return _program(self.file)


def words(count: int, about: str) -> str:
    """Return words that depend on `about` only; the synthetic models have a token for each.

    Each word brings the space before it, so texts can be put together without a separator and
    are cut into the same tokens wherever they stand.
    """
    draw = random.Random(about)  # noqa: S311  # not a secret
    letters = string.ascii_lowercase
    return "".join(f" {draw.choice(letters)}{draw.choice(letters)}" for _ in range(count))


def mapreduce(name: str) -> Part:
    """Return a map-reduce; its system texts are the same in all of them."""
    inputs = {
        "reader": words(250, "reader"),
        "chunks": [words(120, f"{name}/chunk-{number}") for number in range(4)],
        "critic": words(100, "critic"),
        "view_1": words(30, "view-1"),
        "view_2": words(30, "view-2"),
        "editor": words(100, "editor"),
        "task": words(40, "final-task"),
    }
    roles = {"notes": "A", "critics": "B", "final": "C"}
    return Part(id=name, file="mapreduce", inputs=inputs, roles=roles)


def chain(name: str, order: str) -> Part:
    """Return a chain whose steps run on the models of `order`; each model has a system text."""
    inputs = {f"system_{k}": words(350, f"system-{m}") for k, m in enumerate(order, 1)}
    roles = {f"model_{k}": model for k, model in enumerate(order, 1)}
    return Part(id=name, file="chain", inputs={"task": words(60, name), **inputs}, roles=roles)


def control(name: str) -> Part:
    """Return calls of which none can help another."""
    texts = [words(300, f"{name}/{number}") for number in range(12)]
    return Part(id=name, file="control", inputs={"texts": texts}, roles={"model": "A"})


def chained(name: str, items: int) -> Part:
    """Return a map whose body is four stages on three models; each model has a system text."""
    systems = {f"system_{k}": words(150, f"chained-{m}") for k, m in enumerate(LETTERS, 1)}
    texts = [words(60, f"{name}/{number}") for number in range(items)]
    roles = {f"model_{k}": model for k, model in enumerate(LETTERS, 1)}
    return Part(id=name, file="chained", inputs={"items": texts, **systems}, roles=roles)


def _chains(orders: tuple[str, ...]) -> tuple[Part, ...]:
    return tuple(chain(f"chain-{n}", order) for n, order in enumerate(orders, 1))


def handover(name: str) -> Part:
    """Return two calls of which the second continues the first; nobody shares their context.

    Four of them fit a device's KV cache, which its slots share, at once.
    """
    inputs = {"context": words(900, f"{name}/context"), "question": words(30, f"{name}/question")}
    return Part(id=name, file="handover", inputs=inputs, roles={"model": "C"})


#: All workflows of a cell are submitted at once.
CELLS: dict[str, tuple[Part, ...]] = {
    "mixed": (mapreduce("mapreduce-1"), *_chains(_MIXED_ORDERS), mapreduce("mapreduce-2")),
    "chains": _chains(_MIXED_ORDERS),
    "lockstep": _chains(_EQUAL_ORDERS),
    "mapreduce": (mapreduce("mapreduce-1"),),
    "control": (control("control"),),
    "chained": (chained("chained", 24),),
    "handover": tuple(handover(f"handover-{n}") for n in range(1, 5)),
}

#: The cells of `fate bench live`; the others have suites of their own.
LIVE = ("mixed", "chains", "lockstep", "mapreduce", "control")

#: Cells in which scheduling can gain something; the cell `all` pools their pairs.
GAIN = ("mixed", "chains")


def pick(names: str) -> list[str]:
    """Return the cells of a comma-separated list; `all` means every one."""
    if names == "all":
        return list(LIVE)
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        if name not in LIVE:
            raise FateError(f"--cells: no cell {name!r}; choose from {', '.join(LIVE)}, or all")
    return chosen


@cache
def _program(file: str) -> Program:
    return compile_workflow(load_workflow(_FOLDER / f"{file}.yaml"))
