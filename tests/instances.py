"""WfFormat documents for tests."""

from typing import Any, TypeAlias

#: Task -> (runtime [s], bytes written, parents).
Tasks: TypeAlias = dict[str, tuple[float, int, list[str]]]


def document(tasks: Tasks) -> dict[str, Any]:
    """Return a document of these tasks."""
    return {
        "name": "x",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {"name": name, "id": name, "parents": parents, "outputFiles": [f"{name}.out"]}
                    for name, (_, _, parents) in tasks.items()
                ],
                "files": [
                    {"id": f"{name}.out", "sizeInBytes": size}
                    for name, (_, size, _) in tasks.items()
                ],
            },
            "execution": {
                "tasks": [
                    {"id": name, "runtimeInSeconds": runtime_s}
                    for name, (runtime_s, _, _) in tasks.items()
                ]
            },
        },
    }
