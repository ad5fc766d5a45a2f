"""Generates WfFormat instances with the `wfcommons` package; run as a process of its own.

`python -m fate.bench.workloads.generate` reads a JSON list of `[recipe class, tasks, seed, path]`
from stdin. Instances are the same wherever they are made: wfcommons draws from the global
generators of `random`, `numpy` and `uuid`, all of which are seeded here; its sets of strings need
PYTHONHASHSEED=0, which the caller sets.
"""

import json
import random
import sys
import uuid
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

_DRAW = random.Random(0)  # noqa: S311  # not a secret


def _seeded_uuid4() -> uuid.UUID:
    return uuid.UUID(int=_DRAW.getrandbits(128), version=4)


def generate(recipe: str, tasks: int, seed: int, path: Path) -> None:
    """Write one instance of at most `tasks` tasks."""
    _DRAW.seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the generator that wfcommons draws from
    wfcommons: Any = import_module("wfcommons")
    recipes: Any = import_module("wfcommons.wfchef.recipes")
    size = getattr(recipes, recipe).from_num_tasks(tasks)
    part = path.with_suffix(".part")
    wfcommons.WorkflowGenerator(size).build_workflow().write_json(part)
    part.replace(path)


def main() -> None:
    """Generate everything that stdin asks for."""
    warnings.simplefilter("ignore")
    uuid.uuid4 = _seeded_uuid4  # before wfcommons is imported, which may keep the function
    for recipe, tasks, seed, path in json.load(sys.stdin):
        generate(recipe, tasks, seed, Path(path))


if __name__ == "__main__":
    main()
