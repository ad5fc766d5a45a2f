"""Reads WfFormat instances (1.5 and 1.6): the DAGs of scientific workflows, with what was measured.

Source: WfCommons, https://wfcommons.org; schema https://github.com/wfcommons/WfFormat.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, cast

from fate.domain.errors import FateError

VERSIONS = ("1.5", "1.6")
#: A program's name; nextflow's programs are whole shell scripts instead.
_PROGRAM = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
#: What task names carry behind the category.
_NUMBER = re.compile(r"(_ID)?_?\d+$")


class InstanceError(FateError):
    """A WfFormat file cannot be used."""

    code = "bad-instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of an instance: its kind, runtime [s], parents, and files with their sizes [B]."""

    id: str
    category: str
    runtime_s: float
    parents: tuple[str, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A DAG of tasks in topological order, and the application it comes from."""

    name: str
    application: str
    tasks: tuple[Task, ...]


def read_instance(path: Path, application: str | None = None) -> Instance:
    """Read an instance.

    Args:
        path: a WfFormat JSON file.
        application: what it is an instance of; None takes it from the file's name, up to the
            first `-`.

    Raises:
        InstanceError: the file is no usable instance; says where and why.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstanceError(f"{path}: not a JSON file: {error}") from None
    try:
        return parse_instance(data, path.stem, application or path.stem.partition("-")[0])
    except (KeyError, TypeError, AttributeError) as error:
        raise InstanceError(f"{path}: not a WfFormat instance: {error!r} is missing") from None
    except (InstanceError, ValueError) as error:
        raise InstanceError(f"{path}: {error}") from None


def parse_instance(data: Mapping[str, Any], name: str, application: str) -> Instance:
    """Return the instance in a parsed WfFormat document."""
    version = data.get("schemaVersion")
    if version not in VERSIONS:
        raise InstanceError(f"schemaVersion {version!r}; supported: {', '.join(VERSIONS)}")
    specification = data["workflow"]["specification"]
    sizes = {file["id"]: int(file["sizeInBytes"]) for file in specification.get("files", ())}
    executed = {task["id"]: task for task in data["workflow"].get("execution", {}).get("tasks", ())}
    tasks = {
        task["id"]: _task(task, executed.get(task["id"], {}), sizes)
        for task in specification["tasks"]
    }
    if not tasks:
        raise InstanceError("it has no tasks")
    if len(tasks) < len(specification["tasks"]):
        raise InstanceError("a task id appears twice")
    for file, size in sizes.items():
        if size < 0:
            raise InstanceError(f"file {file!r} has {size} bytes")
    return Instance(name=name, application=application, tasks=_topological(tasks))


def _task(task: Mapping[str, Any], ran: Mapping[str, Any], sizes: Mapping[str, int]) -> Task:
    runtime_s = float(ran.get("runtimeInSeconds", 0.0))
    if not 0.0 <= runtime_s < inf:
        raise InstanceError(f"task {task['id']!r} ran for {runtime_s} s")
    return Task(
        id=task["id"],
        category=_category(task["name"], ran),
        runtime_s=runtime_s,
        parents=tuple(task.get("parents", ())),
        inputs={name: sizes.get(name, 0) for name in task.get("inputFiles", ())},
        outputs={name: sizes.get(name, 0) for name in task.get("outputFiles", ())},
    )


def _category(name: str, ran: Mapping[str, Any]) -> str:
    """Return the kind of a task: its program, or its name without numbers and scopes."""
    program = cast("Mapping[str, Any]", ran.get("command") or {}).get("program")
    if isinstance(program, str) and _PROGRAM.fullmatch(program):
        return program
    return _NUMBER.sub("", name.rpartition(".")[2])


def _topological(tasks: Mapping[str, Task]) -> tuple[Task, ...]:
    """Return the tasks parents first, otherwise in the order of the file."""
    for task in tasks.values():
        for parent in task.parents:
            if parent not in tasks:
                raise InstanceError(f"task {task.id!r} has an unknown parent {parent!r}")
    children: dict[str, list[str]] = {task: [] for task in tasks}
    missing = {task.id: len(set(task.parents)) for task in tasks.values()}
    for task in tasks.values():
        for parent in dict.fromkeys(task.parents):
            children[parent].append(task.id)
    order = [task for task, count in missing.items() if not count]
    for task in order:
        for child in children[task]:
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    if len(order) < len(tasks):
        stuck = next(task for task, count in missing.items() if count)
        raise InstanceError(f"the tasks form a cycle; task {stuck!r} is on it or behind it")
    return tuple([tasks[task] for task in order])
