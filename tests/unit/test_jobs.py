"""Jobs, and how a run file keeps them."""

from pathlib import Path

import msgspec
import pytest

from fate.domain.errors import FateError
from fate.jobs import load_job, pack, unpack

WORKFLOW = """\
format: fate.workflow/1
name: notes
inputs:
  text: {kind: text}
  limits: {kind: json, default: null}
roles: {fast: a, strong: b}
stages:
  parts: {kind: tool, tool: split, of: "{{ inputs.text }}", by: lines}
  notes:
    kind: llm
    model: fast
    map: {over: "{{ stages.parts.output }}", items: 3}
    prompt: "{{ item }}"
    stop: ["\\n"]
    schema: {type: object}
  sum: {kind: llm, model: strong, prompt: "{{ stages.notes.output }}", max_tokens: 7}
  own: {kind: tool, python: "mine:count", args: {n: 3}}
outputs: {sum: "{{ stages.sum.output }}", own: "{{ stages.own.output }}"}
"""
CLUSTER = """\
format: fate.cluster/1
models:
  a: {source: "https://example.org/a.gguf#sha256=%s", weight_bytes: 30MiB}
  b: {source: remote, context: 512}
devices:
  d0: {memory: 300MiB, cores: [0, 1], options: {threads: 2}}
  d1: {engine: openai, base_url: "http://localhost:1/v1", models: {b: big}}
links:
  - {source: d0, target: d1, bandwidth: 100MB/s, latency_s: 0.5}
options: {chunk_s: 2.5}
policy: late-eft
""" % ("0" * 64)


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A workflow with something of everything, its cluster and inputs beside it."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"text": "x\\ny"}\n{"text": "z"}\n', encoding="utf-8")
    (tmp_path / "mine.py").write_text("def count(n): return n\n", encoding="utf-8")
    path = tmp_path / "notes.yaml"
    path.write_text(WORKFLOW, encoding="utf-8")
    return path


def test_a_job_comes_back_without_its_files(workflow: Path) -> None:
    """What a run file keeps is all it takes: roles as overridden, links, inputs, options."""
    folder = workflow.parent
    job = load_job(
        workflow,
        each=folder / "rows.jsonl",
        cluster=folder / "cluster.yaml",
        roles={"strong": "a"},
    )
    body = pack(job)
    for file in folder.glob("*.*"):
        file.unlink()
    again = unpack(body)
    assert again.program.spec == job.program.spec
    assert again.program.spec.model_fields_set == job.program.spec.model_fields_set
    assert (again.name, again.inputs, again.resolved) == (job.name, job.inputs, job.resolved)
    assert again.resolved.roles["strong"].id == "a"
    assert again.resolved.cluster.links[0].bytes_per_s == 100e6
    assert pack(again) == body


def test_own_modules_are_looked_for_where_they_were(workflow: Path) -> None:
    """The folder of the workflow file is searched again, in whatever process."""
    job = load_job(workflow, assignments=["text=x"], cluster=workflow.parent / "cluster.yaml")
    again = unpack(pack(job))
    assert again.folder == again.program.folder == workflow.parent


def test_a_job_of_another_version_is_one_clear_line(workflow: Path) -> None:
    """Keys nobody knows any more, and data that is no job."""
    job = load_job(workflow, assignments=["text=x"], cluster=workflow.parent / "cluster.yaml")
    stored = msgspec.json.decode(pack(job))
    stored["workflow"]["mood"] = "good"
    for body in (msgspec.json.encode(stored), b"{}", b"none"):
        with pytest.raises(FateError, match="another version of fate wrote it") as caught:
            unpack(body)
        assert "\n" not in str(caught.value)
