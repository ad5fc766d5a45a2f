"""What `fate validate` says about groups, loops and conditions: by line, all at once."""

from pathlib import Path

import pytest

from fate.workflow.load import load_workflow
from fate.workflow.problems import FileError

HEAD = """format: fate.workflow/1
name: w
roles: {fast: m}
inputs: {list: {kind: json}, doc: {kind: text}}
stages:
  a: {kind: llm, model: fast, prompt: A}
"""


def problems(tmp_path: Path, stages: str) -> list[str]:
    """Return what is wrong with stages, `line: message`; the first of them stands on line 7."""
    file = tmp_path / "w.yaml"
    file.write_text(HEAD + stages)
    try:
        load_workflow(file)
    except FileError as error:
        return [line.removeprefix(f"{tmp_path}/w.yaml:") for line in error.problems]
    return []


def group(body: str, how: str = 'map: {over: "{{ inputs.list }}", item: paper}') -> str:
    """Return a group `g` on lines 7 to 9, its body from line 10 on."""
    return f"  g:\n    kind: group\n    {how}\n    stages:\n{body}"


def call(name: str, prompt: str, more: str = "") -> str:
    """Return a stage of a group on one line."""
    return f'      {name}: {{kind: llm, model: fast, prompt: "{prompt}"{more}}}\n'


LOOP = 'repeat: {max: 2, until: "{{ round == 2 }}"}'


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (group(call("n", "{{ paper }} {{ stages.a.output }}")), []),
        (
            group(call("n", "{{ stages.m.output }}") + call("m", "{{ stages.n.output }}")),
            ["11: the stages wait for each other: n -> m -> n"],
        ),
        (
            group(call("n", "{{ stages.g.output }}")),
            ["7: the stages wait for each other: g -> g"],
        ),
        (
            group(call("n", "{{ papr }} {{ stages.nn.output }} {{ inputs.dok }}")),
            [
                "11: 'papr' is not defined. Did you mean 'paper'?",
                "11: unknown stage 'nn'. Did you mean 'n'?",
                "11: unknown input 'dok'. Did you mean 'doc'?",
            ],
        ),
        (
            group(call("n", "{{ stages.nn.output }} {{ inputs.dok }}", ", when: x")),
            [
                "11: 'x' must be exactly one expression, such as '{{ stages.parts.output }}'",
                "11: unknown stage 'nn'. Did you mean 'n'?",
                "11: unknown input 'dok'. Did you mean 'doc'?",
            ],
        ),
        (
            group(call("n", "{{ paper }}", ", max_token: 3")),
            ["11: unknown key 'max_token'. Did you mean 'max_tokens'?"],
        ),
        (
            group(call("n", "x"))
            + '  z: {kind: llm, model: fast, prompt: "{{ stages.n.output }}"}\n',
            ["12: stage 'n' is known inside group 'g' only; what leaves it is `stages.g.output`"],
        ),
        (
            group(call("n", "{{ previous }} {{ round }}")),
            [
                "11: 'previous' exists only in a stage or group with `repeat:`",
                "11: 'round' exists only in a stage or group with `repeat:`",
            ],
        ),
        (
            group(call("n", "x") + call("m", "y")),
            ["7: the group has 2 last stages (n, m): say with `output:` what it gives"],
        ),
        (
            group(call("n", "x") + call("m", "y"), LOOP + '\n    output: "{{ stages.n.output }}"'),
            ["13: the group's output does not depend on stage 'm': use it, or drop it"],
        ),
        (
            group(call("n", "x"), "repeat: {max: 3, until: \"{{ stages.a.output == 'x' }}\"}"),
            [
                "9: until never changes from round to round: mention a stage of the loop, `round` "
                "or `previous`"
            ],
        ),
        (
            group(call("n", "x"), 'repeat: {max: 3, until: "{{ 1 > 2 }}"}'),
            [
                "9: until is always the same: it mentions nothing",
                "9: until never changes from round to round: mention a stage of the loop, `round` "
                "or `previous`",
            ],
        ),
        (
            group(call("n", "x"), f'map: {{over: "{{{{ inputs.list }}}}"}}\n    {LOOP}'),
            [
                "7: a group has either `map:`, one run for each item, or `repeat:`, one for each "
                "round"
            ],
        ),
        (
            group(call("a", "x")),
            ["11: 'a' is the name of a stage around this one already: give it another"],
        ),
        (
            group(call("n", "{{ paper }}", ', map: {over: "{{ inputs.list }}", item: paper}')),
            ["11: 'paper' is the item of a group around this already: give it another name"],
        ),
        (
            group(call("n", "x", ', map: {over: "{{ inputs.list }}", item: round}')),
            ["11: 'round' has another meaning"],
        ),
        (group("      {}\n"), ["10: group 'g' is empty: give it at least one stage"]),
        (
            "  g: {kind: group, repeat: {max: 0}, stages: "
            "{n: {kind: llm, model: fast, prompt: x}}}\n",
            ["7: max: input should be greater than or equal to 1, got 0"],
        ),
        ("  g: {kind: group, repeat: {max: 2}}\n", ["7: the key 'stages' is missing"]),
        ("  g: {kind: grup}\n", ["7: unknown kind 'grup'. Did you mean 'group'?"]),
    ],
)
def test_groups(tmp_path: Path, stages: str, expected: list[str]) -> None:
    """Names are visible in their scope, and every scope is checked like the file as a whole."""
    assert problems(tmp_path, stages) == expected


def test_the_depth_is_limited(tmp_path: Path) -> None:
    """A plain map and a loop of one stage count as levels."""
    inner = "      h:\n        kind: group\n        repeat: {max: 2}\n        stages:\n    "
    assert problems(tmp_path, group(inner + call("n", "x"))) == []
    for more in (', map: {over: "{{ inputs.list }}"}', ", repeat: {max: 2}"):
        assert problems(tmp_path, group(inner + call("n", "x", more))) == [
            "15: groups, loops and maps nest to depth 2: 'n' is one too deep"
        ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('when: "{{ stages.a.output }}", probability: 0.2', []),
        ('when: "{{ true }}"', "when is always the same: it mentions nothing"),
        ('when: "go"', "'go' must be exactly one expression"),
        ("probability: 0.2", "probability says how likely `when` holds: add `when:`"),
        ('when: "{{ inputs.doc }}", probability: 2', "probability: input should be less than"),
        ("join: 3", "join 3: the stage depends on 1 only"),
        ("join: 1", []),
        ("join: some", "join: must be any, all, or a number of stages from 1 on, got 'some'"),
        ("join: 0", "join: must be any, all, or a number of stages from 1 on, got 0"),
        ("on_error: skip", []),
        ("on_error: skp", "on_error: input should be 'fail', 'skip' or 'default', got 'skp'"),
        ("on_error: default", "on_error default needs `default:`, the output to go on with"),
        ("on_error: default, default: ''", []),
        ("default: x", "default is used with `on_error: default` only"),
        (
            "on_error: default, default: 3, schema: {type: array}",
            "default violates the schema: 3 is not of type 'array'",
        ),
        ('map: {over: "{{ inputs.list }}", truncate: true}', "truncate needs `max_items`"),
        ("repeat: {max: 3, expect: 4}", "expect 4 is more than max 3"),
        (
            'repeat: {max: 3}, map: {over: "{{ inputs.list }}"}',
            "map and repeat exclude each other: put the repeated stage in a group with `map:`",
        ),
        ('repeat: {max: 3, until: "{{ stages.s.output }}"}', []),
    ],
)
def test_keys_of_stages(tmp_path: Path, more: str, expected: str | list[str]) -> None:
    """Each mistake is one line."""
    found = problems(
        tmp_path,
        f'  s: {{kind: llm, model: fast, prompt: "{{{{ stages.a.output }}}}", {more}}}\n',
    )
    if isinstance(expected, str):
        (line,) = found
        assert line.startswith(f"7: {expected}")
    else:
        assert found == expected


def test_a_loop_that_reads_itself_is_told_of_previous(tmp_path: Path) -> None:
    """A stage cannot wait for itself, but it can see its round before."""
    text = '  s: {kind: llm, model: fast, prompt: "{{ stages.s.output }}", repeat: {max: 2}}\n'
    assert problems(tmp_path, text) == [
        "7: the stages wait for each other: s -> s; `previous` is the output of the round before"
    ]


def test_own_code_in_groups_is_imported(tmp_path: Path) -> None:
    """From the folder of the file, like that of other stages."""
    (tmp_path / "fate_group_tools.py").write_text("def f(x):\n    return x\n")
    body = "      n: {kind: tool, python: 'fate_group_tools:FUN', args: {x: 1}}\n"
    assert problems(tmp_path, group(body.replace("FUN", "f"))) == []
    (line,) = problems(tmp_path, group(body.replace("FUN", "g")))
    assert line.startswith("11: module 'fate_group_tools' has no function 'g'")
