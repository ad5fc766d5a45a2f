"""`fate graph`: of files and of runs."""

from pathlib import Path

import msgspec
import pytest
import typer
from tests.graphs import chain, cluster, llm, profile
from tests.unit.cli.test_compare import stored
from typer.testing import CliRunner, Result

from fate.cli.graph import graph, of_file, of_run
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Stage
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.policy.baselines.greedy import LateEft
from fate.view.dag import Dag

FILE = """
format: fate.workflow/1
name: research
inputs: {docs: {kind: json, default: [a, b]}}
roles: {fast: smollm2-135m-q4_0, slow: smollm2-135m-f16}
stages:
  study:
    kind: group
    map: {over: "{{ inputs.docs }}", item: doc, items: 12}
    stages:
      notes: {kind: llm, model: fast, prompt: "{{ doc }}"}
      check: {kind: llm, model: slow, prompt: "{{ stages.notes.output }}"}
  near: {kind: embed, model: fast, text: "{{ inputs.docs[0] }}"}
  merge: {kind: tool, tool: join, of: "{{ stages.study.output }}"}
  extra: {kind: llm, model: fast, when: "{{ inputs.docs }}", prompt: "more"}
  final:
    kind: llm
    model: slow
    join: any
    repeat: {max: 4, until: "{{ round > 2 }}"}
    prompt: "{{ stages.merge.output }} {{ stages.extra.output }}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workflow file in a home of its own."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    path = tmp_path / "research.yaml"
    path.write_text(FILE)
    return path


def call(*arguments: str) -> Result:
    """Run the command."""
    app = typer.Typer()
    app.command()(graph)
    return CliRunner().invoke(app, list(arguments))


def test_a_file_has_its_groups_maps_loops_conditions_and_joins(file: Path) -> None:
    """Roles stand for models; a loop around one stage is that stage."""
    nodes = {node.id: node for node in of_file(file).nodes}
    assert list(nodes) == ["study", "near", "merge", "extra", "final"]
    assert (nodes["near"].kind, nodes["near"].detail) == ("llm", "fast")
    assert [inner.id for inner in nodes["study"].body] == ["study.notes", "study.check"]
    assert nodes["study"].body[1].parents == ("study.notes",)
    assert nodes["study"].marks == ("x12",)
    assert nodes["extra"].marks == ("?",)
    assert nodes["final"].marks == ("↻4", "any")
    assert (nodes["final"].kind, nodes["final"].detail) == ("llm", "slow")
    assert nodes["final"].parents == ("merge", "extra")


def test_it_is_printed_written_or_given_as_json(file: Path, tmp_path: Path) -> None:
    """Three ways to look at one graph."""
    assert "study x12" in call(str(file), "--ascii").output
    out = tmp_path / "out.svg"
    assert call(str(file), "--svg", str(out)).output == f"{out}\n"
    assert out.read_text().startswith("<svg")
    assert msgspec.json.decode(call(str(file), "--json").output, type=Dag) == of_file(file)


def test_a_place_that_cannot_be_written_is_an_error_of_one_line(file: Path) -> None:
    """As everywhere."""
    result = call(str(file), "--svg", "/nowhere/out.svg")
    assert isinstance(result.exception, FateError)


def test_a_run_has_states_items_and_times(file: Path) -> None:
    """A group of two items, revealed in the run, folds into its body."""
    assert file.exists()
    body = (Stage(id="notes", kind="llm", model="A", output_tokens=8.0, max_tokens=8),)
    group = Stage(id="study", kind="group", items=2, body=body)
    work = Graph(id="w", stages=(group, llm("w", "end", "B", ["study"])))
    of = cluster()
    setup = Setup(cluster=of, profile=profile(of), policy=LateEft())
    path = stored(simulate([(0.0, work), (0.0, chain("x", "AB"))], setup).records)
    drawn = of_run(str(path))
    study, end = drawn.nodes
    assert (study.state, end.state) == ("done", "done")
    assert study.marks == ("x2",)
    assert study.body[0].note.startswith("2/2  ")
    assert end.note.endswith(" s")
    assert "of 2 workflows" in drawn.title
    assert [node.label for node in of_run(str(path), "x").nodes] == ["s0", "s1"]
    with pytest.raises(FateError, match="has none such; it has w, x"):
        of_run(str(path), "y")


def test_a_run_without_work_is_refused(file: Path) -> None:
    """There is nothing to draw."""
    assert file.exists()
    with pytest.raises(FateError, match="nothing to draw"):
        of_run(str(stored(())))
