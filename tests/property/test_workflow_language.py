"""Random nested workflows: they are valid, survive a round trip, and render from outputs alone."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.whole_runs import WholeRun
from tests.workflows import Interpreter

from fate.domain.graph import Stage, place_stages
from fate.domain.messages import Revealed
from fate.workflow.builder import dump_yaml
from fate.workflow.check import check_draft
from fate.workflow.load import load_workflow
from fate.workflow.problems import NamedLocator, Problems
from fate.workflow.program import draft_of
from fate.workflow.spec import WorkflowSpec
from fate.workflow.texts import text_key

INPUTS: dict[str, Any] = {
    "doc": "one\ntwo\n\nthree",
    "list": ["a", {"k": 1}, "c"],
    "empty": [],
    "flag": True,
}
_CONDITIONS = ("{{ inputs.flag }}", "{{ not inputs.flag }}", "{{ inputs.list | length > 5 }}")


class _Names:
    """What is visible at a point of a workflow under construction."""

    def __init__(self, texts: list[str], lists: list[str], conditions: list[str]) -> None:
        self.texts, self.lists, self.conditions = texts, lists, conditions

    def inside(self, texts: list[str], conditions: list[str]) -> "_Names":
        return _Names([*self.texts, *texts], list(self.lists), [*self.conditions, *conditions])


@st.composite
def workflows(draw: st.DrawFn) -> WorkflowSpec:
    """Return a valid workflow of up to four stages, groups to depth two among them."""
    texts = ["{{ inputs.doc }}", "{{ inputs.list[0] }}", "static"]
    names = _Names(texts, ["{{ inputs.list }}", "{{ inputs.empty }}"], list(_CONDITIONS))
    counter = iter(range(1000))
    stages = _block(draw, names, 0, counter)
    data = {
        "format": "fate.workflow/1",
        "name": "w",
        "inputs": {name: {"kind": "json", "default": value} for name, value in INPUTS.items()},
        "roles": {"fast": "m"},
        "stages": stages,
    }
    return WorkflowSpec.model_validate(data)


def _block(draw: st.DrawFn, names: _Names, depth: int, counter: Any) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        name = f"s{next(counter)}"
        stages[name] = _stage(draw, name, names, depth, counter)
        output = f"{{{{ stages.{name}.output }}}}"
        names.texts.append(output)
        names.conditions.append(f"{{{{ stages.{name}.output is not none }}}}")
        if "map" in stages[name] or stages[name].get("tool") == "split":
            names.lists.append(f"{{{{ stages.{name}.output or [] }}}}")
    return stages


def _stage(draw: st.DrawFn, name: str, names: _Names, depth: int, counter: Any) -> dict[str, Any]:
    kinds = ["llm", "split"] + (["map", "loop", "map group", "loop group"] if depth < 2 else [])
    kind = draw(st.sampled_from(kinds))
    item = f"i{name}"
    stage: dict[str, Any] = {}
    if kind in ("map", "map group"):
        stage["map"] = {"over": draw(st.sampled_from(names.lists)), "item": item}
        names = names.inside([f"{{{{ {item} }}}}"], [f"{{{{ {item} is string }}}}"])
    if kind in ("loop", "loop group"):
        conditions = [f"{{{{ round == {n} }}}}" for n in (1, 2, 9)]
        stage["repeat"] = {"max": 3, "until": draw(st.sampled_from(conditions))}
        names = names.inside(["{{ previous }}", "{{ round }}"], ["{{ previous is none }}"])
    if "group" in kind:
        body = _block(draw, names.inside([], []), depth + 1, counter)
        stage |= {"kind": "group", "stages": body, "output": _all_of(body)}
    elif kind == "split":
        stage |= {"kind": "tool", "tool": "split", "of": _text(draw, names), "by": "lines"}
    else:
        stage |= {"kind": "llm", "model": "fast", "prompt": f"P{name}: {_text(draw, names)}"}
    return stage | draw(_options("group" in kind, list(_own(names, kind, item))))


def _own(names: _Names, kind: str, item: str) -> list[str]:
    """Return the conditions a stage itself may have: its own item and rounds are inside it."""
    inner = (f"{{{{ {item} ", "{{ previous ") if kind in ("map", "map group") else ("{{ previous ",)
    return [c for c in names.conditions if not c.startswith(inner)]


@st.composite
def _options(draw: st.DrawFn, group: bool, conditions: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw(st.booleans()) and draw(st.booleans()):
        options["when"] = draw(st.sampled_from(conditions))
    policy = draw(st.sampled_from(["fail", "fail", "skip", "default"]))
    if policy != "fail":
        options["on_error"] = policy
    if policy == "default":
        options["default"] = "D"
    return options


def _text(draw: st.DrawFn, names: _Names) -> str:
    return " ".join(draw(st.lists(st.sampled_from(names.texts), min_size=1, max_size=4)))


def _all_of(body: dict[str, Any]) -> str:
    return " ".join(f"{{{{ stages.{name}.output }}}}" for name in body)


@given(spec=workflows())
def test_random_workflows_are_valid_and_survive_a_round_trip(spec: WorkflowSpec) -> None:
    """What the builder writes is what the loader reads."""
    problems = Problems(NamedLocator("w"))
    check_draft(draft_of(spec), problems)
    assert problems.lines == []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "w.yaml"
        file.write_text(dump_yaml(spec))
        assert load_workflow(file) == spec


@given(spec=workflows())
def test_random_workflows_render_from_outputs_alone(spec: WorkflowSpec) -> None:
    """An expander made anew for every question gives the same prompts and the same results."""
    one = Interpreter(spec)
    results = one.run()
    assert one.failed == "" and set(results) == set(one.it.program.outputs)
    again = Interpreter(spec, fresh=True)
    assert again.run() == results
    assert (again.prompts, again.skipped) == (one.prompts, one.skipped)
    assert one.it.results() == results


@given(spec=workflows(), data=st.data())
def test_dropped_items_leave_a_workflow_that_goes_on(
    spec: WorkflowSpec, data: st.DataObject
) -> None:
    """Whatever is dropped; another expander that is told of it agrees."""
    calls = sorted(run_prompts(spec))
    drops = data.draw(st.lists(st.sampled_from(calls), max_size=3)) if calls else []
    one = Interpreter(spec, drops=drops)
    results = one.run()
    assert one.failed == ""
    again = Interpreter(spec, drops=drops, fresh=True, recalls=True)
    assert again.run() == results
    assert again.prompts == one.prompts
    assert one.it.results() == results


def run_prompts(spec: WorkflowSpec) -> set[tuple[str, int]]:
    """Return the (instance, item) of every call that runs when nothing is dropped."""
    run = Interpreter(spec)
    run.run()
    return set(run.prompts)


@given(spec=workflows())
def test_scopes_are_placed_as_the_domain_says(spec: WorkflowSpec) -> None:
    """Ids, parents, kinds and policies are those of the expected body at its place."""
    run = Interpreter(spec)
    run.run()
    _check(run, {stage.id: stage for stage in run.it.graph().stages})


def _check(run: Interpreter, stages: dict[str, Stage]) -> None:
    again = Interpreter(run.spec, outputs=run.outputs)
    for stage in stages.values():
        revealed = again.it.expand(f"w/{stage.id}") if stage.kind == "group" else None
        for scope in revealed.scopes if isinstance(revealed, Revealed) else ():
            expected = place_stages(stage.id, scope.index, stage)
            assert [_shape(each) for each in scope.stages] == [_shape(each) for each in expected]
            _check(run, {each.id: each for each in scope.stages})


def _shape(stage: Stage) -> tuple[object, ...]:
    return (stage.id, stage.parents, stage.kind, stage.on_error, stage.kept, stage.loop, stage.join)


def by_prompt(prompt: str) -> str:
    """Answer equal prompts alike, others otherwise."""
    return text_key(prompt)


@given(spec=workflows())
def test_the_core_runs_what_the_workflow_says(spec: WorkflowSpec) -> None:
    """Run side by side, with identical calls made once, everything is as it is one by one."""
    alone = Interpreter(spec, answer=lambda _instance, _item, prompt: by_prompt(prompt))
    results = alone.run()
    whole = WholeRun(spec, INPUTS, by_prompt)
    assert whole.run() == results
    assert whole.ended is not None and whole.ended.status == "ok", whole.ended
    assert whole.prompts.items() <= alone.prompts.items()
    assert set(whole.prompts.values()) == set(alone.prompts.values())
    assert len(whole.prompts) == len(set(whole.prompts.values()))


@given(spec=workflows(), data=st.data())
def test_failures_end_or_leave_out(spec: WorkflowSpec, data: st.DataObject) -> None:
    """A run fails only where no policy forgives; otherwise all outputs have a value."""
    calls = sorted(run_prompts(spec))
    failing = data.draw(st.lists(st.sampled_from(calls), max_size=3)) if calls else []
    whole = WholeRun(spec, INPUTS, by_prompt, frozenset(failing))
    results = whole.run()
    assert whole.ended is not None
    if whole.ended.status == "ok":
        assert set(results) == set(whole.it.program.outputs)
        assert whole.it.results() == results
    else:
        assert whole.ended.status == "failed" and "meant to" in whole.ended.reason
