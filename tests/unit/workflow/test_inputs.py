"""Inputs: arguments, files, defaults."""

from pathlib import Path

import pytest

from fate.workflow.builder import Workflow
from fate.workflow.inputs import bind_inputs, parse_assignments
from fate.workflow.problems import FileError, WorkflowError
from fate.workflow.spec import WorkflowSpec


def spec() -> WorkflowSpec:
    """Return a workflow with an input of every kind."""
    wf = Workflow("w", roles={"fast": "m"})
    wf.input("topic", description="what to write about")
    wf.input("doc", kind="file", default="doc.txt")
    wf.input("list", kind="json", default=None)
    wf.llm("a", model="fast", prompt="x")
    return wf.to_spec()


def test_values_and_files(tmp_path: Path) -> None:
    """`name=value`, `name=@file`; a file input reads its file, JSON is parsed."""
    (tmp_path / "t.txt").write_text("from file")
    (tmp_path / "l.json").write_text("[1]")
    (tmp_path / "doc.txt").write_text("default")
    given = parse_assignments(
        spec(), [f"topic=@{tmp_path}/t.txt", f"list=@{tmp_path}/l.json", f"doc=@{tmp_path}/t.txt"]
    )
    assert bind_inputs(spec(), given) == {"topic": "from file", "list": [1], "doc": "from file"}
    given = parse_assignments(spec(), ["topic=a=b", 'list={"x": 1}'])
    bound = bind_inputs(spec(), given, tmp_path)
    assert bound == {"topic": "a=b", "list": {"x": 1}, "doc": "default"}


@pytest.mark.parametrize(
    ("assignment", "what"),
    [
        ("topik=x", "unknown input 'topik'. Did you mean 'topic'?"),
        ("topic", "write it as name=value"),
        ("list=[", "the value is not JSON"),
        ("topic=@nowhere.txt", "no such file"),
    ],
)
def test_bad_arguments(assignment: str, what: str) -> None:
    """One clear line each."""
    with pytest.raises(FileError) as caught:
        parse_assignments(spec(), [assignment])
    assert what in str(caught.value)


def test_all_that_is_missing_is_reported(tmp_path: Path) -> None:
    """Missing values, unknown names and unreadable defaults in one go."""
    with pytest.raises(WorkflowError) as caught:
        bind_inputs(spec(), {"lst": 1}, tmp_path)
    assert [line.removeprefix("workflow 'w': ") for line in caught.value.problems] == [
        "unknown input 'lst'. Did you mean 'list'?",
        "input 'topic' (what to write about) is missing; give topic=VALUE or @FILE",
        f"{tmp_path}/doc.txt: no such file; check the path of the file of input 'doc'",
    ]
    with pytest.raises(WorkflowError, match="must be text, got int"):
        bind_inputs(spec(), {"topic": 3, "doc": __file__})
