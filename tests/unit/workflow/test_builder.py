"""The builder makes the same workflows as files, and they survive a round trip."""

import importlib.util
from pathlib import Path

import pytest

from fate.workflow.builder import ITEM, Workflow, dump_yaml
from fate.workflow.load import load_workflow
from fate.workflow.problems import WorkflowError
from fate.workflow.spec import WorkflowSpec

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
        wf.llm("b", model="fast", prompt="x", max_token=3)
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
