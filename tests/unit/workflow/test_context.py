"""Prompts over the context are found before anything runs, inside groups too."""

from pathlib import Path

import pytest
from tests.workflows import spec_of

from fate.domain.catalog import Model
from fate.workflow.context import check_context
from fate.workflow.problems import WorkflowError

TEXT = """
stages:
  study:
    kind: group
    map: {over: "{{ ['a', 'b'] }}"}
    stages:
      long: {kind: llm, model: fast, prompt: "{{ item }}", max_tokens: 90}
      again:
        kind: llm
        model: fast
        repeat: {max: 2}
        prompt: "{{ stages.long.output }}{{ previous }}"
        max_tokens: 60
"""


def test_each_stage_that_is_too_long_is_named_with_its_groups(tmp_path: Path) -> None:
    """What it is expected to read and may write, against what its model takes."""
    spec = spec_of(tmp_path, TEXT)
    check_context(spec, {"fast": Model(id="m", weight_bytes=1, context_tokens=4096)}, tmp_path)
    with pytest.raises(WorkflowError) as caught:
        check_context(spec, {"fast": Model(id="m", weight_bytes=1, context_tokens=100)}, tmp_path)
    (line,) = caught.value.problems
    assert line.startswith("workflow 'w', stages.study.again: about 12")
    assert "max_tokens 60 exceed the 100 tokens of model 'm'" in line
