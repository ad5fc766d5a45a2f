"""The expander: prompts as segments, maps, tools, checks of answers, results."""

from typing import Any

import pytest

from fate.domain.catalog import Model
from fate.domain.graph import ITEM, item_key, shared_tokens
from fate.domain.messages import Expanded, ExpandFailed
from fate.engines.base import CallResult
from fate.workflow.builder import Workflow
from fate.workflow.expand import Expander
from fate.workflow.refs import ITEM as EACH
from fate.workflow.spec import MapSpec
from fate.workflow.texts import text_key
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs

MODEL = Model(id="m", weight_bytes=1, tokenizer="t", context_tokens=1000)


def expander(wf: Workflow, inputs: dict[str, Any] | None = None) -> tuple[Expander, MemoryOutputs]:
    """Return an expander of workflow `w`, all roles meaning one model, and its outputs."""
    outputs, spec = MemoryOutputs(), wf.to_spec()
    models = dict.fromkeys(spec.roles, MODEL)
    return Expander(spec, "w", inputs or {}, models, TokenCounter(), outputs), outputs


def expanded(it: Expander, stage: str) -> Expanded:
    """Expand a stage that must succeed."""
    result = it.expand(f"w/{stage}")
    assert isinstance(result, Expanded), result
    return result


def text(it: Expander, stage: str, item: int = 0) -> str:
    """Return the text of one item's prompt."""
    return "".join(part.text for part in it.request(f"w/{stage}", item, -1).parts)


def workflow() -> Workflow:
    """Return a workflow `w` with a role `fast`."""
    return Workflow("w", roles={"fast": "m"})


def test_a_shared_beginning_is_known_before_anything_runs() -> None:
    """Two stages over the same document share the system text, the lead-in and the document."""
    wf = workflow()
    doc = wf.input("doc")
    for name in ("a", "b"):
        wf.llm(name, model="fast", system="Be brief.", prompt=f"Read {doc}\n\nTask {name}")
    it, _ = expander(wf, {"doc": "The sea is large. " * 20})
    one, two = it.graph().stages
    assert [s.key for s in one.prompt][:4] == [s.key for s in two.prompt][:4]
    shared = sum(segment.tokens for segment in one.prompt[:5])
    assert shared_tokens(one.prompt, two.prompt) == shared > 80
    assert expanded(it, "a").head == one.prompt


def test_system_and_user_texts_are_different_prefixes() -> None:
    """The same words in another role are other tokens behind the chat template."""
    wf = workflow()
    wf.llm("a", model="fast", system="Same words", prompt="x")
    wf.llm("b", model="fast", prompt="Same words")
    wf.llm("c", model="fast", prompt="Same words", chat=False)
    it, _ = expander(wf)
    a, b, c = it.graph().stages
    assert shared_tokens(a.prompt, b.prompt) == shared_tokens(b.prompt, c.prompt) == 0
    assert c.prompt[0].key == text_key("Same words")
    assert not it.request("w/c", 0, -1).chat
    assert [p.role for p in it.request("w/a", 0, 3).parts] == ["system"] * 2 + ["user"] * 3


def test_a_parents_answer_has_its_own_key() -> None:
    """The core can match it with what the parent's call left in the cache."""
    wf = workflow()
    a = wf.llm("a", model="fast", prompt="x", max_tokens=40, expect_tokens=30)
    wf.llm("b", model="fast", prompt=f"{a} go on", chat=False)
    it, outputs = expander(wf)
    planned = it.graph().stages[1]
    assert (planned.prompt[0].key, planned.prompt[0].tokens) == (item_key("w/a", 0), 30)
    assert planned.parents == ("a",)
    outputs.put("w/a", 0, "answer")
    assert expanded(it, "b").head[0].key == item_key("w/a", 0)
    assert text(it, "b") == "answer go on"


def test_values_are_never_templates() -> None:
    """Braces in inputs, answers and items are text, wherever they are inserted."""
    evil = "{{ 7 * 7 }}{% raw %}{{ inputs.secret }}"
    wf = workflow()
    doc = wf.input("doc")
    wf.input("secret")
    parts = wf.split("parts", of=doc, by="lines")
    a = wf.llm("a", model="fast", map=parts, prompt=f"{EACH} {doc}")
    wf.llm("b", model="fast", prompt=f"{a}|{a.pipe('list')}|{doc.pipe('trim')}")
    it, outputs = expander(wf, {"doc": evil, "secret": "s3cret"})
    outputs.put("w/parts", 0, it.run_tool("w/parts", 0))
    assert text(it, "a") == f"{evil} {evil}"
    outputs.put("w/a", 0, evil)
    assert text(it, "b") == f'{evil}|["{evil}"]|{evil}'
    assert "s3cret" not in text(it, "b")


def test_a_map_shares_its_head() -> None:
    """What comes before the item is common; what follows is rendered per item."""
    wf = workflow()
    doc = wf.input("list", kind="json")
    wf.llm("a", model="fast", map=doc, prompt=f"Common {EACH}, {EACH.pipe('upper')} end")
    it, _ = expander(wf, {"list": ["one", "two", {"k": 1}]})
    result = expanded(it, "a")
    assert [s.key for s in result.head] == ["chat:user", text_key("Common ")]
    assert len(result.tails) == 3 and result.tails[0][0].key == text_key("one")
    assert text(it, "a", 1) == "Common two, TWO end"
    assert '{"k": 1}' in text(it, "a", 2)


def test_a_map_over_nothing_has_no_items() -> None:
    """It is done at once, with an empty list as its output."""
    wf = workflow()
    items = wf.input("list", kind="json")
    a = wf.llm("a", model="fast", map=items, prompt=str(EACH))
    wf.llm("b", model="fast", prompt=f"[{a}]{a.pipe('length')}")
    it, _ = expander(wf, {"list": []})
    assert it.graph().stages[0].items == 0
    assert expanded(it, "a").tails == ()
    assert text(it, "b") == "[]0"
    assert it.results() == {}


@pytest.mark.parametrize("wrong", ["text", {"a": 1}, 3, None])
def test_a_map_over_something_else_fails(wrong: object) -> None:
    """One line that says where and what was found."""
    wf = workflow()
    items = wf.input("list", kind="json")
    wf.llm("a", model="fast", map=items, prompt=str(EACH))
    it, _ = expander(wf, {"list": wrong})
    result = it.expand("w/a")
    assert isinstance(result, ExpandFailed)
    assert "stages.a.map.over: needs a list, got" in result.reason


def test_wide_maps_expand() -> None:
    """Ten thousand items, and a join of them that does not make an endless path."""
    wf = workflow()
    items = wf.input("list", kind="json")
    a = wf.llm("a", model="fast", map=items, prompt=f"Say {EACH}")
    wf.llm("b", model="fast", prompt=str(a.pipe("join(' ')")), chat=False)
    it, outputs = expander(wf, {"list": list(range(10_000))})
    assert len(expanded(it, "a").tails) == 10_000
    for item in range(300):
        outputs.put("w/a", item, f"answer {item}")
    head = expanded(it, "b").head
    assert len(head) == 24 and head[2].key == item_key("w/a", 1)
    assert text(it, "b") == " ".join(f"answer {item}" for item in range(300))


def test_missing_parts_of_values_fail_with_a_place() -> None:
    """Undefined at run time is an error too, with the line in the template."""
    wf = workflow()
    doc = wf.input("doc", kind="json")
    wf.llm("a", model="fast", prompt=f"x\n\n{doc['title']}")
    it, _ = expander(wf, {"doc": {}})
    result = it.expand("w/a")
    assert isinstance(result, ExpandFailed)
    assert "stages.a.prompt line 3" in result.reason and "title" in result.reason


def test_prompts_surely_over_the_context_fail() -> None:
    """Others are left to the engine, which counts."""
    wf = workflow()
    doc = wf.input("doc")
    wf.llm("a", model="fast", prompt=str(doc))
    it, _ = expander(wf, {"doc": "word " * 4000})
    result = it.expand("w/a")
    assert isinstance(result, ExpandFailed)
    assert "at least 2500 tokens, model 'm' takes 1000" in result.reason


def test_tools_on_inputs_are_known_ahead() -> None:
    """Their lists make the maps over them exact; one prompt stands for all items, at their mean."""
    wf = workflow()
    doc = wf.input("doc")
    parts = wf.split("parts", of=doc, by="lines")
    a = wf.llm("a", model="fast", map=MapSpec(over=str(parts), items=99), prompt=f"Say {EACH}")
    wf.llm("b", model="fast", map=a, prompt=f"Again {EACH}")
    it, _ = expander(wf, {"doc": "one\ntwo\nthree and some more of it"})
    stages = {stage.id: stage for stage in it.graph().stages}
    assert (stages["a"].items, stages["b"].items) == (3, 3)
    item = stages["a"].prompt[2]
    assert item.key.startswith(f"{ITEM}w/a") and text_key("one") not in item.key
    lengths = [
        it.counter.estimate("t", len(text)) for text in ("one", "two", "three and some more of it")
    ]
    assert item.tokens == round(sum(lengths) / 3)
    assert stages["b"].prompt[2].key == f"{ITEM}w/b"
    assert stages["b"].prompt[2].tokens == pytest.approx(256, rel=0.01)


def test_mapped_tools() -> None:
    """A tool runs on every item; its output is the list of results."""
    wf = workflow()
    items = wf.input("list", kind="json")
    picked = wf.select("pick", map=items, of=EACH["name"], index=0)
    wf.llm("a", model="fast", map=picked, prompt=f"{EACH}!")
    it, outputs = expander(wf, {"list": [{"name": ["x"]}, {"name": ["y"]}]})
    for item in range(len(expanded(it, "pick").tails)):
        outputs.put("w/pick", item, it.run_tool("w/pick", item))
    assert [text(it, "a", item) for item in range(2)] == ["x!", "y!"]


def test_answers_are_checked_against_their_schema() -> None:
    """The reason says where; an answer that fits has none, and later stages see its value."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wf = workflow()
    a = wf.llm("a", model="fast", prompt="x", schema=schema)
    wf.llm("b", model="fast", prompt=f"{a['n']} of {a}")
    it, outputs = expander(wf)
    assert it.check("w/b", 0, "anything") is None
    assert "is not JSON" in str(it.check("w/a", 0, "no"))
    assert "at $.n: 'x' is not of type 'integer'" in str(it.check("w/a", 0, '{"n": "x"}'))
    assert it.check("w/a", 0, ' {"n": 2}') is None
    assert it.request("w/a", 0, -1).schema == schema
    outputs.put("w/a", 0, ' {"n": 2}')
    assert text(it, "b") == '2 of  {"n": 2}'


def test_results_are_what_is_finished() -> None:
    """Expressions give values, mixed templates text; outputs that miss a stage are left out."""
    wf = workflow()
    a = wf.llm("a", model="fast", prompt="x")
    items = wf.input("list", kind="json")
    b = wf.llm("b", model="fast", map=items, prompt=str(EACH))
    wf.output("first", a.pipe("upper"))
    wf.output("all", b)
    wf.output("both", f"{a}: {b}")
    it, outputs = expander(wf, {"list": [1, 2]})
    outputs.put("w/a", 0, "text")
    outputs.put("w/b", 0, "one")
    assert it.results() == {"first": "TEXT"}
    outputs.put("w/b", 1, "two")
    assert it.results() == {"first": "TEXT", "all": ["one", "two"], "both": "text: one\n\ntwo"}


def test_a_map_over_an_unfinished_map_is_no_result() -> None:
    """Nothing done of nothing known is not the same as an empty list."""
    wf = workflow()
    items = wf.input("list", kind="json")
    a = wf.llm("a", model="fast", map=items, prompt=str(EACH))
    wf.llm("b", model="fast", map=a, prompt=str(EACH))
    it, outputs = expander(wf, {"list": [1, 2]})
    assert it.results() == {}
    for item in range(2):
        outputs.put("w/a", item, "x")
        outputs.put("w/b", item, "y")
    assert it.results() == {"b": ["y", "y"]}


def test_without_declared_outputs_the_sinks_are_the_result() -> None:
    """A stage somebody uses is not an output."""
    wf = workflow()
    a = wf.llm("a", model="fast", prompt="x")
    wf.llm("b", model="fast", prompt=str(a))
    it, outputs = expander(wf)
    outputs.put("w/a", 0, "1")
    outputs.put("w/b", 0, "2")
    assert it.results() == {"b": "2"}


def test_token_counts_are_learned_from_answers() -> None:
    """A text an engine has counted is exact from then on, others get better."""
    wf = workflow()
    doc = wf.input("doc")
    wf.llm("a", model="fast", prompt=f"{doc}", chat=False)
    it, _ = expander(wf, {"doc": "word " * 1000})
    request = it.request("w/a", 0, -1)
    result = CallResult(
        text="",
        prompt_tokens=777,
        cached_tokens=0,
        output_tokens=0,
        prefill_s=0.0,
        decode_s=0.0,
        part_tokens=(777,),
    )
    it.learn(request, result)
    assert expanded(it, "a").head[0].tokens == 777
    again = TokenCounter.loads(it.counter.dumps())
    assert again.bytes_per_token("t") > TokenCounter().bytes_per_token("t")
