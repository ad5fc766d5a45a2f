"""Workflow files: what is accepted, and that everything wrong is reported at once, by line."""

from pathlib import Path

import pytest

from fate.workflow.load import load_workflow
from fate.workflow.problems import FileError
from fate.workflow.spec import LlmStage, PythonTool, WorkflowSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def load(tmp_path: Path, text: str) -> WorkflowSpec:
    """Load a workflow from text."""
    file = tmp_path / "w.yaml"
    file.write_text(text)
    return load_workflow(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return the problems of a workflow text, without the folder."""
    with pytest.raises(FileError) as caught:
        load(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


HEAD = "format: fate.workflow/1\nname: w\nroles: {fast: m}\ninputs: {doc: {kind: text}}\n"


def stage(name: str, prompt: str, more: str = "") -> str:
    """Return the lines of an `llm` stage."""
    return f'  {name}:\n    kind: llm\n    model: fast\n    prompt: "{prompt}"\n{more}'


@pytest.mark.parametrize("name", ["brief.yaml", "chain.yaml"])
def test_examples_are_valid(name: str) -> None:
    """What we ship loads."""
    spec = load_workflow(EXAMPLES / name)
    assert len(spec.roles) == 3


def test_everything_wrong_is_reported_at_once(tmp_path: Path) -> None:
    """Each mistake has its own line: where it is, what it is, and what was probably meant."""
    text = """\
format: fate.workflow/1
name: w
roles:
  fast: m
inputs:
  document: {kind: text, defalt: x}
stages:
  notes:
    kind: llm
    model: fats
    prompt: |
      Read this:

      {{ inputs.documnet }}
    max_token: 3
  draft:
    kind: llm
    model: fast
    prompt: "{{ stages.note.output | jion }}"
  odd:
    kind: tol
  cut:
    kind: tool
    tool: splti
  list:
    kind: tool
    tool: select
    of: "{{ stages.draft.output }}"
"""
    assert problems(tmp_path, text) == [
        "w.yaml:6: unknown key 'defalt'. Did you mean 'default'?",
        "w.yaml:10: unknown model role 'fats'. Did you mean 'fast'?",
        "w.yaml:14: unknown input 'documnet'. Did you mean 'document'?",
        "w.yaml:15: unknown key 'max_token'. Did you mean 'max_tokens'?",
        "w.yaml:19: no filter named 'jion'. Did you mean 'join'?",
        "w.yaml:19: unknown stage 'note'. Did you mean 'notes'?",
        "w.yaml:21: unknown kind 'tol'. Did you mean 'tool'?",
        "w.yaml:24: unknown tool 'splti'. Did you mean 'split'?",
        "w.yaml:25: give exactly one of index, slice, key, first; got 0",
    ]


def test_names_in_templates_have_their_own_line(tmp_path: Path) -> None:
    """An undefined name is found inside a block, on the line where it stands."""
    text = HEAD + (
        "stages:\n  a:\n    kind: llm\n    model: fats\n    prompt: |\n      One\n"
        "      {{ inputs.dok }}\n      {{ imputs.doc }}\n      {{ item }}\n"
        "      {{ stages.a.text }}\n"
    )
    assert problems(tmp_path, text) == [
        "w.yaml:8: unknown model role 'fats'. Did you mean 'fast'?",
        "w.yaml:11: unknown input 'dok'. Did you mean 'doc'?",
        "w.yaml:12: 'imputs' is not defined. Did you mean 'inputs'?",
        "w.yaml:13: 'item' exists only in a stage with `map:`",
        "w.yaml:14: write `stages.a.output`: a stage has nothing else",
    ]


def test_a_cycle_is_reported_by_name(tmp_path: Path) -> None:
    """The names stand in the order in which the stages feed each other."""
    text = HEAD + (
        "stages:\n"
        + stage("a", "{{ stages.c.output }}")
        + stage("b", "{{ stages.a.output }}")
        + stage("c", "{{ stages.b.output }}")
    )
    (line,) = problems(tmp_path, text)
    assert line == "w.yaml:6: the stages wait for each other: a -> b -> c -> a"


def test_a_stage_that_waits_for_itself_is_a_cycle(tmp_path: Path) -> None:
    """`after` counts as an edge too."""
    text = HEAD + "stages:\n" + stage("a", "x", "    after: [a]\n")
    assert problems(tmp_path, text) == ["w.yaml:6: the stages wait for each other: a -> a"]


def test_stages_without_a_path_to_an_output_are_reported(tmp_path: Path) -> None:
    """Only where outputs are declared; otherwise each such stage is an output."""
    stages = "stages:\n" + stage("a", "x") + stage("b", "y")
    assert len(load(tmp_path, HEAD + stages).stages) == 2
    declared = HEAD + stages + 'outputs:\n  r: "{{ stages.a.output }}"\n'
    (line,) = problems(tmp_path, declared)
    assert line.startswith("w.yaml:10: no output depends on stage 'b'")


@pytest.mark.parametrize(
    ("over", "what"),
    [
        ("{{ stages.a.output }}", "stage 'a' writes text, not a list"),
        ("{{ inputs.doc }}", "input 'doc' is text, not a list"),
        ("stages.a.output", "must be exactly one expression"),
        ("x {{ stages.a.output }}", "must be exactly one expression"),
    ],
)
def test_a_map_needs_a_list(tmp_path: Path, over: str, what: str) -> None:
    """Where it can be decided from the file, it is."""
    more = f'    map: {{over: "{over}"}}\n'
    text = HEAD + "stages:\n" + stage("a", "x") + stage("b", "{{ item }}", more)
    (line,) = problems(tmp_path, text)
    assert line.startswith("w.yaml:14: ") and what in line


def test_wrong_types_are_reported(tmp_path: Path) -> None:
    """Types are strict: a number is no text, and no text is a number."""
    more = "    max_tokens: many\n    stop: 3\n    temperature: -1\n    schema: {type: objekt}\n"
    lines = problems(tmp_path, HEAD + "stages:\n" + stage("a", "x", more))
    assert [line.split(":")[1] for line in lines] == ["10", "11", "12", "13"]
    assert "max_tokens" in lines[0] and "'many'" in lines[0]
    assert "not a JSON Schema: 'objekt'" in lines[3]


def test_duplicate_stages_are_reported(tmp_path: Path) -> None:
    """YAML would silently keep the last one."""
    text = HEAD + "stages:\n" + stage("a", "x") + stage("a", "y")
    assert problems(tmp_path, text) == [
        "w.yaml:10: 'a' stands here twice, first on line 6; rename or remove one"
    ]


@pytest.mark.parametrize(
    "text",
    [HEAD + "stages: {}\n", HEAD + "stages:\n", HEAD],
)
def test_an_empty_workflow_is_refused(tmp_path: Path, text: str) -> None:
    """Whichever way it is empty."""
    (line,) = problems(tmp_path, text)
    assert "empty" in line or "'stages' is missing" in line


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "w.yaml:1: the file is empty"),
        ("- a\n", "w.yaml:1: a workflow file is a mapping"),
        ("name: w\n", "w.yaml:1: a workflow file starts with `format: fate.workflow/1`; there"),
        ("format: fate.cluster/1\n", "got 'fate.cluster/1'"),
        ("format: fate.workflow/1\nname: [\n", "w.yaml:3: not valid YAML"),
        ("format: fate.workflow/1\nname: a: b\n", "w.yaml:2: not valid YAML"),
        ("a: &x [*x]\n", "aliases make this endless"),
    ],
)
def test_files_that_are_no_workflow(tmp_path: Path, text: str, what: str) -> None:
    """One clear line, whatever was given."""
    (line,) = problems(tmp_path, text)
    assert what in line


def test_alias_bombs_are_refused(tmp_path: Path) -> None:
    """Few bytes, millions of values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (line,) = problems(tmp_path, "\n".join(lines))
    assert "aliases make this endless or huge" in line


def test_unreadable_files(tmp_path: Path) -> None:
    """Missing, a directory, not UTF-8, too large: each says so."""
    with pytest.raises(FileError, match="no such file"):
        load_workflow(tmp_path / "none.yaml")
    with pytest.raises(FileError, match="is a directory"):
        load_workflow(tmp_path)
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: \xff")
    with pytest.raises(FileError, match="not UTF-8"):
        load_workflow(bad)
    bad.write_bytes(b"#" * (3 * 2**20))
    with pytest.raises(FileError, match="the limit is"):
        load_workflow(bad)


def test_own_code_is_looked_for_but_not_run(tmp_path: Path) -> None:
    """Modules beside the file, or in its `folder:`, are found; what is missing says so."""
    source = "def half(text, *, step: int = 2):\n    return text[::step]\nraise SystemExit('run')\n"
    (tmp_path / "fate_test_tools.py").write_text(source)
    ok = HEAD + "stages:\n  a: {kind: tool, python: 'fate_test_tools:half', args: {text: abc}}\n"
    assert load(tmp_path, ok).stages
    (line,) = problems(tmp_path, ok.replace("text:", "txet:").replace("kind: txet", "kind: text"))
    assert "fate_test_tools:half: missing a required argument: 'text'" in line
    (line,) = problems(tmp_path, ok.replace("text: abc", "text: abc, stop: 3"))
    assert "unexpected argument 'stop'. Did you mean 'step'?" in line
    (line,) = problems(tmp_path, ok.replace(":half", ":hlaf"))
    assert "has no function 'hlaf'. Did you mean 'half'?" in line
    (line,) = problems(tmp_path, ok.replace("fate_test_tools:", "fate_no_such_module:"))
    assert "cannot import 'fate_no_such_module': there is no such module in" in line
    (tmp_path / "sub").mkdir()
    (tmp_path / "fate_test_tools.py").rename(tmp_path / "sub" / "fate_test_tools.py")
    assert problems(tmp_path, ok)
    assert load(tmp_path, ok.replace("args:", "folder: sub, args:")).stages
    (tmp_path / "fate_test_tools.py").write_text("def half(text:\n")
    (line,) = problems(tmp_path, ok)
    assert "fate_test_tools.py: '(' was never closed (line 1)" in line


@pytest.mark.parametrize(
    ("source", "names", "what"),
    [
        ("def f(a, /): ...", ["a"], "'a' can only be given by position"),
        ("def f(a, **more): ...", ["a", "b"], ""),
        ("async def f(a=1): ...", [], ""),
        ("@changed\ndef f(): ...", ["a"], ""),
        ("@fate.tool(pure=True)\ndef f(): ...", ["a"], "unexpected argument 'a'"),
        ("try:\n    from x import f\nexcept ImportError:\n    f = None", ["a"], ""),
        ("from x import *", ["a"], ""),
        ("f: int = 3", ["a"], ""),
        ("class f: ...", ["a"], ""),
        ("if 1:\n    def f(): ...", ["a"], "unexpected argument 'a'"),
    ],
)
def test_arguments_of_own_code_are_read_from_its_source(
    tmp_path: Path, source: str, names: list[str], what: str
) -> None:
    """What is plain to see is checked, what is not is left to the run."""
    (tmp_path / "fate_test_source.py").write_text(source)
    given = ", ".join(f"{name}: 1" for name in names)
    text = f"stages:\n  a: {{kind: tool, python: 'fate_test_source:f', args: {{{given}}}}}\n"
    if what:
        (line,) = problems(tmp_path, HEAD + text)
        assert what in line
    else:
        assert load(tmp_path, HEAD + text).stages


def test_limits_of_own_code(tmp_path: Path) -> None:
    """Sizes with units; too little memory for an interpreter is refused."""
    (tmp_path / "fate_test_tools.py").write_text("def f(): ...\n")
    text = HEAD + "stages:\n  a: {kind: tool, python: 'fate_test_tools:f', memory: 256MiB}\n"
    first = load(tmp_path, text).stages["a"]
    assert isinstance(first, PythonTool)
    assert first.memory == 2**28 and not first.pure and first.timeout_s == 60.0
    (line,) = problems(tmp_path, text.replace("256MiB", "1MiB"))
    assert "memory: input should be greater than or equal to 67108864" in line


def test_yaml_values_keep_their_types(tmp_path: Path) -> None:
    """Defaults of every kind, stop lists and schemas arrive as written."""
    text = HEAD.replace("{doc: {kind: text}}", "{doc: {kind: json, default: [1, {a: b}]}}") + (
        "stages:\n" + stage("a", "x", "    stop: ['\\n', END]\n    schema: {type: array}\n")
    )
    spec = load(tmp_path, text)
    first = spec.stages["a"]
    assert isinstance(first, LlmStage)
    assert first.stop == ("\\n", "END") and first.answer_schema == {"type": "array"}
    assert spec.inputs["doc"].default == [1, {"a": "b"}] and not spec.inputs["doc"].required
