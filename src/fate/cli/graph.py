"""`fate graph`: a workflow's stages and what needs what, drawn."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fate.domain.errors import FateError
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Submitted
from fate.store.journal import Journal
from fate.store.runs import RunStore
from fate.view.dag import Dag, Node
from fate.view.dag_svg import dag_svg
from fate.view.dag_text import dag_text
from fate.view.fold import Fold
from fate.view.rollup import StageRow, rollup
from fate.workflow.compile import compile_workflow
from fate.workflow.load import load_workflow
from fate.workflow.program import StageProgram
from fate.workflow.spec import GroupStage, ModelStage, PythonTool

_SUFFIXES = (".yaml", ".yml")


def graph(
    what: Annotated[
        str, typer.Argument(metavar="FILE|RUN", help="A workflow file, or `last`, or a run's id.")
    ],
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="OUT", help="Write it as SVG, for a browser.")
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which workflow of a run; by default the first."),
    ] = None,
    ascii_: Annotated[bool, typer.Option("--ascii", help="No box characters.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print nodes and edges as JSON.")] = False,
) -> None:
    """Draw the graph of a workflow file, or of a run with what became of every stage.

    Marks: xN a map over N items, ↻N a loop of at most N rounds, ? a condition, any or a number a
    join that needs only so many parents. Groups are boxes. Long rows of stages that are alike are
    drawn as one.
    """
    is_file = what.endswith(_SUFFIXES) or (Path(what).is_file() and not what.endswith(".sqlite"))
    dag = of_file(Path(what)) if is_file else of_run(what, workflow)
    if svg is not None:
        try:
            svg.write_text(dag_svg(dag), encoding="utf-8")
        except OSError as error:
            raise FateError(f"{svg}: cannot be written: {error.strerror}") from None
        print(svg)
    elif json_:
        print(msgspec.json.encode(dag).decode())
    else:
        boxes = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
        print(dag_text(dag, width, ascii_only=ascii_ or not boxes))


def of_file(path: Path) -> Dag:
    """Return the graph of a workflow file, models under their roles."""
    program = compile_workflow(load_workflow(path))
    return Dag(title=program.spec.name, nodes=_programs(program.stages))


def of_run(what: str, workflow: str | None = None) -> Dag:
    """Return the graph of a run's workflow with states, items and times."""
    with Journal.open(RunStore().find(what)) as journal:
        header, fold = journal.header, Fold(journal.header.cluster)
        graphs: dict[str, Graph] = {}
        for record in journal.records():
            fold.add(record)
            came = [event.graph for event in record.events if isinstance(event, Submitted)]
            graphs |= {graph.id: graph for graph in came}
    if not graphs:
        raise FateError(f"run {header.run} has no workflow in it; there is nothing to draw")
    if workflow is not None and workflow not in graphs:
        known = ", ".join(list(graphs)[:5])
        raise FateError(f"--workflow {workflow}: run {header.run} has none such; it has {known}")
    chosen = graphs[workflow] if workflow is not None else next(iter(graphs.values()))
    same = [g.id for g in graphs.values() if _shape(g) == _shape(chosen)]
    shown = [chosen.id] if workflow is not None else same
    rows = {row.path: row for row in rollup(fold.book, shown)}
    title = f"{chosen.id} of run {header.run}"
    if workflow is None and len(graphs) > 1:
        title = f"{len(same)} of {len(graphs)} workflows like {chosen.id} of run {header.run}"
    return Dag(title=title, nodes=_stages(chosen.stages, "", rows))


def _shape(graph: Graph) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((stage.id, stage.parents) for stage in graph.stages)


def _programs(stages: Mapping[str, StageProgram]) -> tuple[Node, ...]:
    return tuple(_program(stage) for stage in stages.values())


def _program(stage: StageProgram) -> Node:
    spec, marks = stage.spec, list[str]()
    if spec.map is not None:
        marks.append(f"x{spec.map.items}")
    if spec.repeat is not None:
        marks.append(f"↻{spec.repeat.max}")
    if spec.when:
        marks.append("?")
    if spec.join != "all":
        marks.append(str(spec.join))
    once = stage.body.get(stage.name) if stage.loop and len(stage.body) == 1 else None
    parts = tuple(f"{stage.path.rpartition('.')[0]}.{p}".lstrip(".") for p in stage.parents)
    if once is not None:  # a loop around one stage is drawn as that stage
        inner = _program(once)
        return msgspec.structs.replace(
            inner, id=stage.path, marks=(*inner.marks, *marks), parents=parts
        )
    group, calls = isinstance(spec, GroupStage), isinstance(spec, ModelStage)
    return Node(
        id=stage.path,
        label=stage.name,
        kind="group" if group else "llm" if calls else "tool",
        detail="" if group else _what(stage),
        marks=tuple(marks),
        parents=parts,
        body=_programs(stage.body) if group else (),
    )


def _what(stage: StageProgram) -> str:
    spec = stage.spec
    if isinstance(spec, ModelStage):
        return spec.model
    return spec.python if isinstance(spec, PythonTool) else str(getattr(spec, "tool", ""))


def _stages(
    stages: tuple[Stage, ...], around: str, rows: Mapping[str, StageRow]
) -> tuple[Node, ...]:
    return tuple(_stage(stage, around, rows) for stage in stages)


def _stage(stage: Stage, around: str, rows: Mapping[str, StageRow]) -> Node:
    path = around + stage.id
    row, marks = rows.get(path), list[str]()
    if stage.loop:
        marks.append(f"↻{_each(row, stage.rounds):g}")
    elif stage.mapped or stage.kind == "group":
        marks.append(f"x{_each(row, stage.items):g}")
    if stage.probability < 1.0:
        marks.append("?")
    if stage.join:
        marks.append("any" if stage.join == 1 else str(stage.join))
    once = stage.body[0] if len(stage.body) == 1 and stage.body[0].id == stage.id else None
    shown = once or stage
    return Node(
        id=path,
        label=stage.id,
        kind=shown.kind,
        detail=shown.model or shown.kind if shown.kind != "group" else "",
        marks=tuple(marks),
        parents=tuple(around + parent for parent in stage.parents),
        body=() if once is not None else _stages(stage.body, f"{path}.", rows),
        state="waiting" if row is None else row.state,
        note="" if row is None else _note(row),
    )


def _each(row: StageRow | None, expected: float) -> float:
    """Return the items or rounds of one execution, in the mean over those that ran."""
    ran = 0 if row is None else row.executions - row.skipped
    return expected if row is None or not ran else round(row.total / ran, 1)


def _note(row: StageRow) -> str:
    if row.start_s is None or row.state == "skipped":
        return ""
    end = "" if row.end_s is None else f"{row.end_s:.1f}"
    items = f"{row.done}/{row.total}  " if row.total != 1 else ""
    return f"{items}{row.start_s:.1f}-{end} s"
