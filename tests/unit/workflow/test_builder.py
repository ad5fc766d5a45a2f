"""The builder makes the same workflows as files, and they survive a round trip."""

import importlib.util
from pathlib import Path

import pytest

from fate.workflow.builder import Workflow, dump_yaml
from fate.workflow.load import load_workflow
from fate.workflow.problems import WorkflowError
from fate.workflow.refs import ITEM, expr
from fate.workflow.spec import MapSpec, WorkflowSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def built_example() -> WorkflowSpec:
    """Return the workflow of examples/builder.py."""
    spec = importlib.util.spec_from_file_location("example_builder", EXAMPLES / "builder.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.brief()


def test_the_built_example_equals_the_file() -> None:
    """brief.yaml and builder.py say the same."""
    assert built_example() == load_workflow(EXAMPLES / "brief.yaml")


@pytest.mark.parametrize("name", ["brief.yaml", "chain.yaml"])
def test_yaml_round_trip(name: str, tmp_path: Path) -> None:
    """What is written reads back equal, blocks of text included."""
    spec = load_workflow(EXAMPLES / name)
    copy = tmp_path / name
    copy.write_text(dump_yaml(spec))
    assert load_workflow(copy) == spec


def test_mistakes_are_located_by_name() -> None:
    """Without a file, the stage and key are the place."""
    wf = Workflow("w")
    wf.role("fast", "m")
    wf.llm("a", model="fsat", prompt="{{ inputs.x }}")
    with pytest.raises(WorkflowError) as caught:
        wf.to_spec()
    assert caught.value.problems == (
        "workflow 'w', stages.a.model: unknown model role 'fsat'. Did you mean 'fast'?",
        "workflow 'w', stages.a.prompt: unknown input 'x'.",
    )
    with pytest.raises(WorkflowError, match=r"stages\.b\.max_token: unknown key"):
        wf.llm("b", model="fast", prompt="x", max_token=3)  # pyright: ignore[reportCallIssue]  # on purpose
    with pytest.raises(WorkflowError, match="this name is taken"):
        wf.llm("a", model="fast", prompt="x")
    with pytest.raises(WorkflowError, match="is empty"):
        Workflow("w").to_spec()


def test_triple_quoted_prompts_lose_their_indentation() -> None:
    """Prompts can be written where the code is."""
    wf = Workflow("w", roles={"fast": "m"})
    items = wf.input("list", kind="json")
    wf.llm(
        "a",
        model="fast",
        map=items,
        prompt=f"""
            Say
              {ITEM}
            """,
    )
    assert "prompt: |\n      Say\n        {{ item }}\n" in wf.to_yaml()


WHOLE = """\
format: fate.workflow/1
name: whole
inputs: {papers: {kind: json}, task: {kind: text}}
roles: {fast: m, slow: n}
stages:
  gate: {kind: llm, model: fast, prompt: "Is this about bees? {{ inputs.task }}"}
  study:
    kind: group
    map: {over: "{{ inputs.papers }}", item: paper}
    on_error: skip
    stages:
      notes: {kind: llm, model: fast, prompt: "Note {{ paper }}"}
      check:
        kind: llm
        model: slow
        prompt: "{{ paper }} {{ stages.notes.output }}"
        on_error: default
        default: unchecked
  solve:
    kind: group
    when: "{{ stages.gate.output == 'yes' }}"
    probability: 0.3
    repeat: {max: 3, until: "{{ 'ok' in stages.verify.output }}", expect: 1.5}
    output: "{{ stages.execute.output }}"
    stages:
      execute: {kind: llm, model: slow, prompt: "{{ inputs.task }} {{ previous }} {{ round }}"}
      verify: {kind: llm, model: fast, prompt: "Right? {{ stages.execute.output }}"}
  polish:
    kind: llm
    model: slow
    repeat: {max: 2}
    join: any
    after: [gate]
    prompt: "{{ stages.study.output }} {{ stages.solve.output }} {{ previous }}"
outputs: {text: "{{ stages.polish.output }}"}
"""


def whole() -> Workflow:
    """Build the workflow of `WHOLE`."""
    wf = Workflow("whole")
    papers, task = wf.input("papers", kind="json"), wf.input("task")
    fast, slow = wf.role("fast", "m"), wf.role("slow", "n")
    gate = wf.llm("gate", model=fast, prompt=f"Is this about bees? {task}")
    with wf.map("study", over=papers, item="paper", on_error="skip") as paper:
        notes = wf.llm("notes", model=fast, prompt=f"Note {paper}")
        wf.llm(
            "check",
            model=slow,
            prompt=f"{paper} {notes}",
            on_error="default",
            default="unchecked",
        )
    yes = expr("{} == 'yes'", gate)
    with wf.repeat("solve", max=3, expect=1.5, when=yes, probability=0.3) as loop:
        answer = wf.llm("execute", model=slow, prompt=f"{task} {loop.previous} {loop.round}")
        verdict = wf.llm("verify", model=fast, prompt=f"Right? {answer}")
        loop.until(expr("'ok' in {}", verdict))
        loop.output(answer)
    polished = wf.llm(
        "polish",
        model=slow,
        prompt=f"{paper.result} {loop.result} {loop.previous}",
        repeat={"max": 2},
        join="any",
        after=[gate],
    )
    wf.output("text", polished)
    return wf


def test_groups_are_built_like_they_are_written(tmp_path: Path) -> None:
    """Maps, loops, conditions, joins and policies; and what is built can be written."""
    file = tmp_path / "whole.yaml"
    file.write_text(WHOLE)
    assert whole().to_spec() == load_workflow(file)
    file.write_text(whole().to_yaml())
    assert load_workflow(file) == whole().to_spec()


def test_mistakes_in_groups_are_located() -> None:
    """By the names of the groups around; a group that was left by an exception is not added."""
    wf = Workflow("w", roles={"fast": "m"})
    with wf.repeat("solve", max=2):
        wf.llm("try", model="fats", prompt="x")
    with pytest.raises(WorkflowError, match=r"stages\.solve\.stages\.try\.model: unknown model"):
        wf.to_spec()
    with pytest.raises(WorkflowError, match="solve: this name is taken"), wf.repeat("solve", max=1):
        pass
    with pytest.raises(WorkflowError, match="has no stages"), wf.repeat("empty", max=1):
        pass
    with pytest.raises(ZeroDivisionError), wf.repeat("broken", max=1):
        wf.llm("try", model="fast", prompt=str(1 / 0))
    with wf.map("open", over=MapSpec(over="{{ inputs.x }}", item="x", max_items=3)) as each:
        assert str(each) == "{{ x }}"
        wf.llm("inner", model="fast", prompt=str(each))
        with pytest.raises(WorkflowError, match="a group is still open"):
            wf.to_spec()
