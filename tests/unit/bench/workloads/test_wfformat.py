"""Reading WfFormat: topological order, categories, and files that are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from fate.bench.workloads.wfformat import InstanceError, parse_instance, read_instance


def document(
    *tasks: dict[str, Any],
    version: str = "1.5",
    executed: dict[str, dict[str, Any]] | None = None,
    file_bytes: int = 7,
) -> Any:
    """A WfFormat document with the given tasks; names are ids."""
    specified: list[dict[str, Any]] = [{"name": task["id"], **task} for task in tasks]
    ran = [{"id": name, **facts} for name, facts in (executed or {}).items()]
    return {
        "schemaVersion": version,
        "workflow": {
            "specification": {
                "tasks": specified,
                "files": [{"id": "f", "sizeInBytes": file_bytes}],
            },
            "execution": {"tasks": ran},
        },
    }


def test_tasks_come_parents_first() -> None:
    """Files list tasks in any order, and a parent may be named twice."""
    data = document(
        {"id": "c_3", "parents": ["a_1", "b_2", "a_1"]},
        {"id": "b_2", "parents": ["a_1"]},
        {"id": "a_1", "parents": [], "inputFiles": ["f"]},
        executed={"a_1": {"runtimeInSeconds": 2.5}},
    )
    instance = parse_instance(data, "x", "app")
    assert [task.id for task in instance.tasks] == ["a_1", "b_2", "c_3"]
    assert instance.tasks[0].runtime_s == 2.5
    assert instance.tasks[0].inputs == {"f": 7}
    assert instance.tasks[1].runtime_s == 0.0


@pytest.mark.parametrize(
    ("name", "program", "category"),
    [
        ("merge_ID0000022", "merge", "merge"),
        ("merge_ID0000022", "cat a > b\nrm c", "merge"),
        ("NFCORE_X.Y.FASTQC_12", None, "FASTQC"),
        ("blastall_00000003", None, "blastall"),
    ],
)
def test_categories(name: str, program: str | None, category: str) -> None:
    """The program where it is a name, else the task's name without scope and number."""
    facts = {} if program is None else {"command": {"program": program}}
    data = document({"id": name, "parents": []}, executed={name: facts})
    assert parse_instance(data, "x", "app").tasks[0].category == category


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "schemaVersion None"),
        (document(version="1.3"), "schemaVersion '1.3'"),
        ({"schemaVersion": "1.5"}, "not a WfFormat instance"),
        (document({"id": "a", "parents": ["z"]}), "unknown parent 'z'"),
        (document({"id": "a", "parents": ["b"]}, {"id": "b", "parents": ["a"]}), "cycle"),
        (document({"id": "a", "parents": []}, {"id": "a", "parents": []}), "twice"),
        (document(), "it has no tasks"),
        (document({"id": "a", "parents": []}, file_bytes=-1), "file 'f' has -1 bytes"),
        (
            document({"id": "a", "parents": []}, executed={"a": {"runtimeInSeconds": "long"}}),
            "could not convert .*'long'",
        ),
        (
            document({"id": "a", "parents": []}, executed={"a": {"runtimeInSeconds": -1}}),
            "task 'a' ran for -1.0 s",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: Any, said: str) -> None:
    """One line: which file, and what is wrong with it."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InstanceError, match=said) as caught:
        read_instance(path)
    assert str(path) in str(caught.value)


def test_no_json(tmp_path: Path) -> None:
    """Neither a missing file nor one that is not JSON is a traceback."""
    path = tmp_path / "x.json"
    with pytest.raises(InstanceError, match="not a JSON file"):
        read_instance(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InstanceError, match="not a JSON file"):
        read_instance(path)
