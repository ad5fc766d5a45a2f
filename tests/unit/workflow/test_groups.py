"""Groups: maps with a body, loops, conditions, joins, dropped items; each from outputs alone."""

from pathlib import Path
from typing import Any

import pytest
from tests.workflows import Interpreter, expander_of, spec_of

from fate.domain.graph import ITEM, Stage, item_key, place_stages
from fate.domain.messages import Dropped, Expanded, ExpandFailed, Revealed, Skipped
from fate.workflow.values import MemoryOutputs

STUDY = """
inputs: {papers: {kind: json}, topic: {default: bees}}
stages:
  study:
    kind: group
    map: {over: "{{ inputs.papers }}", item: paper}
    stages:
      notes: {kind: llm, model: fast, prompt: "Note {{ paper }} on {{ inputs.topic }}"}
      check: {kind: llm, model: fast, prompt: "{{ paper }}|{{ stages.notes.output }}"}
  report: {kind: llm, model: fast, prompt: "R {{ stages.study.output }}", chat: false}
"""

SOLVE = """
inputs: {task: {default: sum}}
stages:
  plan: {kind: llm, model: fast, prompt: "Plan {{ inputs.task }}"}
  solve:
    kind: group
    repeat: {max: 4, until: "{{ 'ok' in stages.verify.output }}"}
    output: "{{ stages.execute.output }}"
    stages:
      execute:
        kind: llm
        model: fast
        prompt: "{{ stages.plan.output }}{{ previous }} round {{ round }}"
        chat: false
      verify: {kind: llm, model: fast, prompt: "Check {{ stages.execute.output }}"}
  end: {kind: llm, model: fast, prompt: "{{ stages.solve.output }}!", chat: false}
"""


def verdicts(good: int) -> Any:
    """Return a model that is content with round `good` only."""

    def answer(instance: str, item: int, prompt: str) -> str:
        if instance.endswith("verify"):
            return "ok" if f"#{good}." in instance else "no"
        return f"<{instance}>"

    return answer


@pytest.mark.parametrize("fresh", [False, True])
def test_a_body_is_chained_item_by_item(tmp_path: Path, fresh: bool) -> None:
    """Each item has its own stages; the group's output is the list of the last ones."""
    run = Interpreter(spec_of(tmp_path, STUDY), {"papers": ["A", "B"]}, fresh=fresh)
    assert run.run() == {"report": "<report:0>"}
    assert run.prompts["w/study[1].notes", 0] == "Note B on bees"
    assert run.prompts["w/study[1].check", 0] == "B|<study[1].notes:0>"
    assert run.prompts["w/report", 0] == "R <study[0].check:0>\n\n<study[1].check:0>"


def test_the_scopes_are_those_the_domain_places(tmp_path: Path) -> None:
    """Ids and parents are as `place_stages` makes them of the expected body."""
    it = expander_of(spec_of(tmp_path, STUDY), {"papers": ["A", "B"]}, MemoryOutputs())
    group, report = it.graph().stages
    assert (group.kind, group.mapped, group.items, report.parents) == ("group", True, 2, ("study",))
    assert [stage.id for stage in group.body] == ["notes", "check"]
    revealed = it.expand("w/study")
    assert isinstance(revealed, Revealed)
    for scope in revealed.scopes:
        placed = place_stages("study", scope.index, group)
        assert [(s.id, s.parents, s.kept) for s in scope.stages] == [
            (s.id, s.parents, s.kept) for s in placed
        ]
    check = revealed.scopes[1].stages[1]
    assert (check.id, check.parents, check.kept) == ("study[1].check", ("study[1].notes",), True)


def test_prompts_of_a_revealed_scope_are_what_rendering_gives(tmp_path: Path) -> None:
    """The item is exact at once, a sibling's output has the key of its placed instance."""
    it = expander_of(spec_of(tmp_path, STUDY), {"papers": ["A", "B"]}, outputs := MemoryOutputs())
    body = it.graph().stages[0].body
    assert any(segment.key == f"{ITEM}w/study" for segment in body[0].prompt)
    assert any(segment.key == item_key("w/study.notes", 0) for segment in body[1].prompt)
    revealed = it.expand("w/study")
    assert isinstance(revealed, Revealed)
    notes, check = revealed.scopes[1].stages
    rendered = it.expand("w/study[1].notes")
    assert isinstance(rendered, Expanded) and rendered.head == notes.prompt
    outputs.put("w/study[1].notes", 0, "n")
    rendered = it.expand("w/study[1].check")
    assert isinstance(rendered, Expanded)
    assert [s.key for s in rendered.head] == [s.key for s in check.prompt]
    assert item_key("w/study[1].notes", 0) in [s.key for s in rendered.head]
    for index in range(2):
        outputs.put(f"w/study[{index}].check", 0, "c")
    report = it.expand("w/report")
    assert isinstance(report, Expanded)
    assert item_key("w/study[1].check", 0) in [s.key for s in report.head]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("good", [1, 3, 9])
def test_a_loop_ends_when_its_condition_holds(tmp_path: Path, good: int, fresh: bool) -> None:
    """Or after `max` rounds; each round sees the output of the one before."""
    run = Interpreter(spec_of(tmp_path, SOLVE), answer=verdicts(good), fresh=fresh)
    run.run()
    last = min(good, 4)
    assert run.prompts["w/solve#1.execute", 0] == "<w/plan> round 1"
    assert (("w/solve#2.execute", 0) in run.prompts) == (good > 1)
    assert run.prompts["w/end", 0] == f"<w/solve#{last}.execute>!"
    assert (f"w/solve#{last + 1}.execute", 0) not in run.prompts
    if good > 1:
        assert run.prompts["w/solve#2.execute", 0] == "<w/plan><w/solve#1.execute> round 2"


def test_a_round_continues_the_prompt_of_the_one_before(tmp_path: Path) -> None:
    """`{{ previous }}` stands under the key of the output that the group's output is."""
    run = Interpreter(spec_of(tmp_path, SOLVE), answer=verdicts(2))
    run.run()
    second = run.it.expand("w/solve#2.execute")
    assert isinstance(second, Expanded)
    assert [s.key for s in second.head][:2] == [
        item_key("w/plan", 0),
        item_key("w/solve#1.execute", 0),
    ]


REFINE = """
stages:
  refine:
    kind: llm
    model: fast
    repeat: {max: 3, until: "{{ 'ok' in stages.refine.output }}", expect: 1.5}
    prompt: "Better: {{ previous }}"
"""


@pytest.mark.parametrize("fresh", [False, True])
def test_a_loop_of_one_stage(tmp_path: Path, fresh: bool) -> None:
    """Its rounds are `refine#1`, `refine#2`, …; its own name is the round's output in `until`."""
    spec = spec_of(tmp_path, REFINE)
    run = Interpreter(spec, answer=lambda i, _, __: "ok" if "#2" in i else "no", fresh=fresh)
    assert run.run() == {"refine": "ok"}
    assert list(run.prompts) == [("w/refine#1", 0), ("w/refine#2", 0)]
    assert run.prompts["w/refine#2", 0] == "Better: no"
    (group,) = run.it.graph().stages
    assert (group.kind, group.loop, group.rounds, group.body[0].id) == (
        "group",
        True,
        1.5,
        "refine",
    )
    assert place_stages("refine", 2, group)[0].id == "refine#2"


NESTED = """
inputs: {papers: {kind: json}}
stages:
  study:
    kind: group
    map: {over: "{{ inputs.papers }}", item: paper}
    stages:
      cut: {kind: tool, tool: split, of: "{{ paper }}", by: lines}
      parts:
        kind: llm
        model: fast
        map: {over: "{{ stages.cut.output }}"}
        prompt: "{{ paper }}/{{ item }}"
      debate:
        kind: group
        repeat: {max: 2}
        output: "{{ stages.con.output }}"
        stages:
          pro: {kind: llm, model: fast, prompt: "{{ stages.parts.output }} {{ previous }}"}
          con: {kind: llm, model: fast, prompt: "{{ paper }} {{ round }} {{ stages.pro.output }}"}
      polish:
        kind: llm
        model: fast
        repeat: {max: 2}
        prompt: "{{ previous or 'none' }} {{ stages.debate.output }}"
outputs: {all: "{{ stages.study.output }}", size: "{{ stages.study.output | length }} items"}
"""


@pytest.mark.parametrize("fresh", [False, True])
def test_groups_nest(tmp_path: Path, fresh: bool) -> None:
    """Inner stages see the outer item, siblings of the group around them, and their own round."""
    spec = spec_of(tmp_path, NESTED)
    run = Interpreter(spec, {"papers": ["a\nb", "c"]}, fresh=fresh)
    assert run.run() == {
        "all": ["<study[0].polish#2:0>", "<study[1].polish#2:0>"],
        "size": "2 items",
    }
    assert run.prompts["w/study[0].parts", 1] == "a\nb/b"
    assert run.prompts["w/study[0].debate#1.pro", 0] == (
        "<study[0].parts:0>\n\n<study[0].parts:1> "
    )
    assert run.prompts["w/study[1].debate#2.con", 0] == "c 2 <study[1].debate#2.pro:0>"
    assert run.prompts["w/study[1].debate#2.pro", 0] == (
        "<study[1].parts:0> <study[1].debate#1.con:0>"
    )
    assert run.prompts["w/study[1].polish#1", 0] == "none <study[1].debate#2.con:0>"


def test_tools_inside_a_scope_run_ahead(tmp_path: Path) -> None:
    """What an item's text alone decides is exact as soon as the item is known."""
    it = expander_of(spec_of(tmp_path, NESTED), {"papers": ["a\nb\nc"]}, MemoryOutputs())
    revealed = it.expand("w/study")
    assert isinstance(revealed, Revealed)
    stages = {stage.id: stage for stage in revealed.scopes[0].stages}
    assert stages["study[0].parts"].items == 3
    debate = stages["study[0].debate"]
    assert debate.body[0].parents == () and debate.parents == ("study[0].parts",)
    assert (debate.loop, debate.rounds) == (True, 2.0)


WHEN = """
inputs: {go: {kind: json}}
stages:
  a: {kind: llm, model: fast, prompt: A}
  b: {kind: llm, model: fast, prompt: "B {{ stages.a.output }}", when: "{{ inputs.go }}"}
  c: {kind: llm, model: fast, prompt: "C {{ stages.b.output }}"}
  d:
    kind: llm
    model: fast
    prompt: "D{{ stages.a.output }}{{ stages.c.output }}{{ stages.b.output is none }}"
  e: {kind: tool, tool: join, of: "{{ [stages.a.output, stages.b.output] }}", separator: "+"}
outputs: {d: "{{ stages.d.output }}", c: "{{ stages.c.output }}", e: "{{ stages.e.output }}"}
"""


@pytest.mark.parametrize("fresh", [False, True])
def test_a_skipped_stage_has_no_output(tmp_path: Path, fresh: bool) -> None:
    """None in expressions, nothing in prompts; who depends on others too goes on."""
    spec = spec_of(tmp_path, WHEN)
    run = Interpreter(spec, {"go": False}, fresh=fresh)
    assert run.run() == {"d": "<d:0>", "c": None, "e": "<a:0>"}
    assert run.skipped == ["w/b", "w/c"]
    assert run.prompts["w/d", 0] == "D<a:0>true"
    assert run.it.results() == {"d": "<d:0>", "c": None, "e": "<a:0>"}
    went = Interpreter(spec, {"go": True}, fresh=fresh)
    assert went.run() == {"d": "<d:0>", "c": "<c:0>", "e": "<a:0>+<b:0>"}


def test_conditions_on_inputs_are_known_ahead(tmp_path: Path) -> None:
    """Others are as likely as declared, else even."""
    stages = "stages:\n  a: {kind: llm, model: fast, prompt: A}\n"
    for name, more in (("b", ""), ("c", ", probability: 0.2")):
        when = "{{ stages.a.output == 'x' }}"
        stages += f'  {name}: {{kind: llm, model: fast, prompt: B, when: "{when}"{more}}}\n'
    it = expander_of(spec_of(tmp_path, stages), {}, MemoryOutputs())
    assert [stage.probability for stage in it.graph().stages] == [1.0, 0.5, 0.2]
    known = expander_of(spec_of(tmp_path, WHEN), {"go": False}, MemoryOutputs())
    assert [stage.probability for stage in known.graph().stages] == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert isinstance(known.expand("w/b"), Skipped)


DROP = """
inputs: {papers: {kind: json}}
stages:
  each: {kind: llm, model: fast, map: {over: "{{ inputs.papers }}"}, prompt: "{{ item }}", ON}
  end:
    kind: llm
    model: fast
    prompt: "{{ stages.each.output | length }} {{ stages.each.output }}"
"""


def test_dropped_items_vanish_or_have_a_default(tmp_path: Path) -> None:
    """The others keep their numbers, hence the keys of their texts."""
    drops = [("w/each", 1)]
    skip = spec_of(tmp_path, DROP.replace("ON", "on_error: skip"))
    run = Interpreter(skip, {"papers": ["a", "b", "c"]}, drops=drops)
    assert run.run() == {"end": "<end:0>"}
    assert run.prompts["w/end", 0] == "2 <each:0>\n\n<each:2>"
    end = run.it.expand("w/end")
    assert isinstance(end, Expanded)
    assert item_key("w/each", 2) in [segment.key for segment in end.head]
    other = spec_of(tmp_path, DROP.replace("ON", "on_error: default, default: nothing"))
    run = Interpreter(other, {"papers": ["a", "b", "c"]}, drops=drops)
    run.run()
    assert run.prompts["w/end", 0] == "3 <each:0>\n\nnothing\n\n<each:2>"
    assert [stage.on_error for stage in run.it.graph().stages] == ["default", "fail"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("skip", "R <study[1].check:0>"), ("default, default: gone", "R gone\n\n<study[1].check:0>")],
)
def test_a_dropped_scope_vanishes_or_has_a_default(
    tmp_path: Path, policy: str, expected: str
) -> None:
    """Whatever its stages have written already."""
    text = STUDY.replace(
        "item: paper}",
        f"item: paper}}\n    on_error: {policy}".replace(", default", "\n    default"),
    )
    it = expander_of(spec_of(tmp_path, text), {"papers": ["A", "B"]}, outputs := MemoryOutputs())
    outputs.put("w/study[0].notes", 0, "written")
    for name in ("notes", "check"):
        outputs.put(f"w/study[1].{name}", 0, f"<study[1].{name}:0>")
    default = it.default("w/study", 0)
    assert (default is None) == (policy == "skip")
    if default is not None:
        outputs.put("w/study", 0, default)
    assert isinstance(it.expand("w/report"), Expanded)
    parts = it.request("w/report", 0, -1).parts
    assert "".join(part.text for part in parts) == expected


def test_a_dropped_round_ends_its_loop(tmp_path: Path) -> None:
    """The output is that of the last round which has one."""
    text = REFINE.replace("    prompt", "    on_error: skip\n    prompt")
    it = expander_of(spec_of(tmp_path, text), {}, outputs := MemoryOutputs())
    assert isinstance(it.expand("w/refine"), Revealed)
    outputs.put("w/refine#1", 0, "first")
    second = it.expand("w/refine")
    assert isinstance(second, Revealed) and second.scopes[0].stages[0].id == "refine#2"
    assert it.default("w/refine", 2) is None
    assert it.expand("w/refine") == Revealed(instance="w/refine")
    assert it.results() == it.results(ended=True) == {"refine": "first"}


def test_another_process_is_told_what_outputs_do_not_say(tmp_path: Path) -> None:
    """Dropped items without a default, and rounds that left nothing."""
    text = REFINE.replace("    prompt", "    on_error: skip\n    prompt")
    spec, outputs = spec_of(tmp_path, text), MemoryOutputs()
    it = expander_of(spec, {}, outputs)
    first = it.expand("w/refine")
    outputs.put("w/refine#1", 0, "first")
    second = it.expand("w/refine")

    again = expander_of(spec, {}, outputs)
    for message in (first, second, Dropped(instance="w/refine", item=2, reason="x")):
        again.recall(message)
    again.recall(Dropped(instance="other/x", item=0, reason="not ours"))
    assert again.expand("w/refine") == Revealed(instance="w/refine")
    assert again.results() == {"refine": "first"}


def test_unfinished_groups_are_no_result(tmp_path: Path) -> None:
    """Until every scope is over; a loop, until its condition says so."""
    it = expander_of(spec_of(tmp_path, REFINE), {}, outputs := MemoryOutputs())
    assert it.results() == {}
    outputs.put("w/refine#1", 0, "no")
    assert it.results() == {}
    outputs.put("w/refine#2", 0, "ok")
    assert it.results() == {"refine": "ok"}


ANY = """
stages:
  a: {kind: llm, model: fast, prompt: A}
  b: {kind: llm, model: fast, prompt: B}
  first:
    {kind: llm, model: fast, join: any, prompt: "F {{ stages.a.output }}{{ stages.b.output }}"}
  both: {kind: llm, model: fast, join: 2, prompt: "{{ stages.a.output }}{{ stages.b.output }}"}
outputs:
  first: "{{ stages.first.output }}"
  both: "{{ stages.both.output }}"
  b: "{{ stages.b.output }}"
"""


def test_a_join_sees_what_is_there(tmp_path: Path) -> None:
    """A stage that may start before some of its parents does without their outputs."""
    it = expander_of(spec_of(tmp_path, ANY), {}, outputs := MemoryOutputs())
    assert [(s.join, s.kept) for s in it.graph().stages] == [
        (0, False),
        (0, True),
        (1, True),
        (2, True),
    ]
    outputs.put("w/a", 0, "a")
    assert "".join(p.text for p in it.request("w/first", 0, -1).parts) == "F a"
    outputs.put("w/b", 0, "b")
    assert "".join(p.text for p in it.request("w/both", 0, -1).parts) == "ab"


def test_too_many_items_fail_or_are_cut(tmp_path: Path) -> None:
    """The number is in the message."""
    text = STUDY.replace("item: paper}", "item: paper, max_items: 2MORE}")
    spec = spec_of(tmp_path, text.replace("MORE", ""))
    failed = expander_of(spec, {"papers": [1, 2, 3]}, MemoryOutputs()).expand("w/study")
    assert isinstance(failed, ExpandFailed)
    assert "stages.study.map.over: 3 items, at most 2; raise max_items, or set truncate" in (
        failed.reason
    )
    spec = spec_of(tmp_path, text.replace("MORE", ", truncate: true"))
    cut = expander_of(spec, {"papers": [1, 2, 3]}, MemoryOutputs()).expand("w/study")
    assert isinstance(cut, Revealed) and len(cut.scopes) == 2


def expected_calls(stages: tuple[Stage, ...]) -> int:
    """Return the number of calls and tools among stages and in their bodies."""
    return sum(expected_calls(stage.body) if stage.body else 1 for stage in stages)


def test_an_empty_group_is_done_at_once(tmp_path: Path) -> None:
    """No items, no scopes, the output []."""
    run = Interpreter(spec_of(tmp_path, STUDY), {"papers": []})
    assert run.run() == {"report": "<report:0>"}
    assert run.prompts == {("w/report", 0): "R "}
    assert expected_calls(run.it.graph().stages) == 3


SKIPPED_MAP = """
inputs: {list: {kind: json}, go: {kind: json}}
stages:
  a: {kind: llm, model: fast, prompt: A}
  each:
    {kind: llm, model: fast, map: {over: "{{ inputs.list }}"}, when: "{{ inputs.go }}", prompt: x}
  study:
    kind: group
    map: {over: "{{ inputs.list }}"}
    when: "{{ inputs.go }}"
    stages: {n: {kind: llm, model: fast, prompt: "{{ item }}"}}
  end:
    kind: llm
    model: fast
    prompt: |-
      {{ stages.a.output }} {{ stages.each.output is none }} {{ stages.study.output is none }}
  joined: {kind: tool, tool: join, of: "{{ stages.each.output }}", after: [a]}
"""


def test_a_skipped_map_is_none_and_an_empty_one_is_a_list(tmp_path: Path) -> None:
    """Both leave no text; a `join` of either is empty."""
    spec = spec_of(tmp_path, SKIPPED_MAP)
    run = Interpreter(spec, {"go": False, "list": [1]})
    assert run.run()["joined"] == ""
    assert run.prompts["w/end", 0] == "<a:0> true true"
    run = Interpreter(spec, {"go": True, "list": []})
    assert run.run()["joined"] == ""
    assert run.prompts["w/end", 0] == "<a:0> false false"


def test_a_stage_given_up_as_a_whole_is_skipped(tmp_path: Path) -> None:
    """Its list was none, say, and its policy is to go on."""
    text = STUDY.replace("item: paper}", "item: paper}\n    on_error: skip")
    it = expander_of(spec_of(tmp_path, text), {"papers": "no list"}, MemoryOutputs())
    assert isinstance(it.expand("w/study"), ExpandFailed)
    assert it.results() == {}
    assert it.default("w/study", -1) is None
    assert isinstance(it.expand("w/report"), Expanded)
    parts = it.request("w/report", 0, -1).parts
    assert "".join(part.text for part in parts) == "R "


def test_a_list_that_is_too_long_inside_a_scope_fails_its_own_stage(tmp_path: Path) -> None:
    """Revealing the scope does not stumble over it."""
    text = """
inputs: {list: {kind: json}}
stages:
  each: {kind: llm, model: fast, map: {over: "{{ inputs.list }}"}, prompt: "{{ item }}"}
  study:
    kind: group
    map: {over: "{{ inputs.list }}", item: paper}
    stages:
      inner:
        kind: llm
        model: fast
        map: {over: "{{ stages.each.output }}", max_items: 1}
        prompt: "{{ paper }} {{ item }}"
"""
    run = Interpreter(spec_of(tmp_path, text), {"list": [1, 2]})
    run.run()
    assert "stages.study.inner.map.over: 2 items, at most 1" in run.failed


def test_an_output_that_cannot_be_made_fails_whoever_reads_it(tmp_path: Path) -> None:
    """With its place, also where only its length was wanted."""
    text = """
inputs: {list: {kind: json}}
stages:
  study:
    kind: group
    map: {over: "{{ inputs.list }}"}
    output: "T {{ stages.n.output.title | upper }}"
    stages: {n: {kind: llm, model: fast, prompt: "{{ item }}", schema: {type: object}}}
  after:
    kind: group
    map: {over: "{{ inputs.list }}", item: other}
    stages: {m: {kind: llm, model: fast, prompt: "{{ other }} {{ stages.study.output | list }}"}}
"""
    run = Interpreter(spec_of(tmp_path, text), {"list": [1]}, answer=lambda _, __, ___: "{}")
    run.run()
    assert "stages.study.output: 'dict object' has no attribute 'title'" in run.failed
