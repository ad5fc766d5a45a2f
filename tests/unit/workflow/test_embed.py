"""Stages that make vectors, the tool that compares them, and models that can or cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from fate import ITEM, Workflow
from fate.config import ClusterSpec, default_cluster, resolve
from fate.domain.catalog import Model
from fate.domain.messages import Expanded
from fate.workflow.expand import Expander
from fate.workflow.load import load_workflow
from fate.workflow.own_code import ToolError
from fate.workflow.problems import WorkflowError
from fate.workflow.spec import NearestTool
from fate.workflow.tasks import check_tasks
from fate.workflow.tokens import TokenCounter
from fate.workflow.tools import run
from fate.workflow.twins import TwinIndex
from fate.workflow.values import MemoryOutputs

WRITER = Model(id="m", weight_bytes=1)
EMBEDDER = Model(id="m:embed", weight_bytes=1, task="embed")
MODELS = {"fast": WRITER, "embedder": EMBEDDER}


def retrieval() -> Workflow:
    """Return a workflow that answers from what is nearest to a question."""
    wf = Workflow("rag", roles={"fast": "m", "embedder": "m:embed"})
    texts, question = wf.input("texts", kind="json"), wf.input("question")
    vectors = wf.embed("vectors", model="embedder", map=texts, text=ITEM)
    asked = wf.embed("asked", model="embedder", text=f"Q: {question}")
    near = wf.nearest("near", query=asked, among=vectors, of=texts, k=2)
    wf.output("answer", wf.llm("answer", model="fast", prompt=f"{near.pipe('join')}\n{question}"))
    return wf


def test_the_stages_of_a_retrieval() -> None:
    """Embedding is a call without output tokens; its stored JSON is a list for templates."""
    outputs = MemoryOutputs()
    inputs = {"texts": ["red", "green", "red"], "question": "which?"}
    it = Expander(
        retrieval().to_spec(), "w", inputs, MODELS, TokenCounter(), outputs, twins=TwinIndex()
    )
    stages = {stage.id: stage for stage in it.graph().stages}
    vectors = stages["vectors"]
    assert (vectors.kind, vectors.model, vectors.items) == ("llm", "m:embed", 3)
    assert vectors.output_tokens == 0 and vectors.max_tokens == 0 and vectors.output_bytes > 0
    assert stages["near"].parents == ("vectors", "asked")
    assert stages["near"].output_bytes < 50  # of the texts, not of the vectors

    expanded = it.expand("w/vectors")
    assert isinstance(expanded, Expanded)
    assert [twin.item for twin in expanded.twins] == [2]  # equal texts are embedded once
    request = it.request("w/vectors", 1, 0)
    assert request.embed and not request.chat and request.max_tokens == 0
    assert [part.text for part in request.parts] == ["green"]
    assert it.check("w/vectors", 1, "[1.0]") is None
    it.expand("w/asked")
    assert "".join(p.text for p in it.request("w/asked", 0, 0).parts) == "Q: which?"

    for item, vector in enumerate(([1.0, 0.0], [0.0, 1.0], [0.9, 0.1])):
        outputs.put("w/vectors", item, json.dumps(vector))
    outputs.put("w/asked", 0, "[0.2, 0.9]")
    it.expand("w/near")
    assert json.loads(it.run_tool("w/near", 0)) == ["green", "red"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"query": "no", "among": [[1.0]], "of": ["a"]}, "`query` must be a vector"),
        ({"query": [1.0], "among": [[1.0], [1.0, 2.0]], "of": ["a", "b"]}, "a list of vectors"),
        ({"query": [1.0], "among": [[1.0, 2.0]], "of": ["a"]}, "vectors of one length are needed"),
        ({"query": [1.0], "among": [[1.0]], "of": ["a", "b"]}, "1 vectors in `among` for 2"),
        ({"query": [1.0], "among": [[1.0]], "of": "a"}, "needs a list"),
    ],
)
def test_vectors_that_do_not_fit(arguments: dict[str, Any], what: str) -> None:
    """The shapes say what is wrong."""
    with pytest.raises(ToolError, match=what):
        run("s", NearestTool(query="", among="", of=""), arguments)


def test_equal_likeness_keeps_the_order_of_the_list() -> None:
    """Length does not count; a vector without one is last; more than there are is all."""
    spec = NearestTool(query="", among="", of="", k=9)
    among = [[0.0, 0.0], [0.0, 1.0], [5.0, 0.0], [1.0, 0.0]]
    found = run("s", spec, {"query": [2.0, 0.0], "among": among, "of": ["z", "o", "a", "b"]})
    assert json.loads(found) == ["a", "b", "o", "z"]
    assert run("s", spec, {"query": [1.0], "among": [], "of": []}) == "[]"


def test_models_must_do_what_is_asked() -> None:
    """Both ways round, inside groups too."""
    spec = retrieval().to_spec()
    check_tasks(spec, MODELS)
    with pytest.raises(WorkflowError) as caught:
        check_tasks(spec, {"fast": EMBEDDER, "embedder": WRITER})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert (
        "stages.vectors: role 'embedder' means model 'm', whose task is 'generate'; the stage "
        "needs a model with `task: embed`"
    ) in lines[0]
    assert "stages.answer: role 'fast'" in lines[2]
    wf = Workflow("w", roles={"fast": "m"})
    with wf.map("each", over=wf.input("texts", kind="json")) as text:
        wf.embed("vector", model="fast", text=str(text))
    with pytest.raises(WorkflowError, match=r"stages\.each\.vector"):
        check_tasks(wf.to_spec(), {"fast": WRITER})


def test_a_builder_s_workflow_is_a_file_s(tmp_path: Path) -> None:
    """What the builder writes is read again as the same."""
    file = tmp_path / "rag.yaml"
    file.write_text(retrieval().to_yaml(), encoding="utf-8")
    assert load_workflow(file) == retrieval().to_spec()


def test_what_a_model_that_embeds_needs() -> None:
    """A short context, and room to compute a whole text at once; a name's suffix will do."""
    cluster = default_cluster(("smollm2-135m-q8_0", "smollm2-135m-q8_0:embed"))
    writes, embeds = resolve(cluster, {}).cluster.models
    assert (writes.task, embeds.task) == ("generate", "embed")
    assert embeds.context_tokens == 512 and embeds.digest == writes.digest
    assert 150 * 2**20 < embeds.weight_bytes - writes.weight_bytes < 170 * 2**20
    given = {"source": "pypi:smollm2-135m-q8_0", "task": "embed", "context": 128}
    spec = ClusterSpec.model_validate(
        {"models": {"e": given}, "devices": {"d": {"memory": "1GiB"}}}
    )
    (small,) = resolve(spec, {}).cluster.models
    assert small.context_tokens == 128 and small.weight_bytes < embeds.weight_bytes
