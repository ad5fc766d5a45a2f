"""Stages as a watcher wants them: one row per stage as written, whatever it became."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fate.domain.graph import written_id
from fate.view.stage_run import StageRun
from fate.view.stages import StageBook

RowState: TypeAlias = Literal["running", "failed", "ready", "waiting", "done", "skipped"]


@dataclass(slots=True)
class StageRow:
    """All executions of one stage, over workflows, items and rounds.

    `items` of `total` are finished; `total` holds what is expected where nothing is known yet.
    `path` has the names of the groups around it, `study.notes`; times run from the first start to
    the last end, None while there is none.
    """

    path: str
    kind: str
    model: str
    done: int = 0
    total: int = 0
    running: int = 0
    ready: int = 0
    failed: bool = False
    waiting: int = 0
    skipped: int = 0
    executions: int = 0
    start_s: float | None = None
    end_s: float | None = None

    @property
    def name(self) -> str:
        """The stage's own name."""
        return self.path.rpartition(".")[2]

    @property
    def depth(self) -> int:
        """How many groups are around it."""
        return self.path.count(".")

    @property
    def state(self) -> RowState:
        """What is most worth knowing of it."""
        if self.running:
            return "running"
        if self.failed:
            return "failed"
        if self.ready:
            return "ready"
        if self.waiting == self.executions:
            return "waiting"
        if self.skipped == self.executions:
            return "skipped"
        return "done" if self.done >= self.total else "waiting"


def rollup(book: StageBook, workflows: Collection[str] | None = None) -> list[StageRow]:
    """Return the rows in the order of the workflow file, a group's stages below it.

    Args:
        book: the stages.
        workflows: which workflows to look at, None for all.
    """
    rows: dict[str, StageRow] = {}
    for run in book.stages.values():
        if workflows is not None and run.workflow not in workflows:
            continue
        name = written_id(run.stage.id)
        row = rows.get(name)
        if row is None:
            row = rows[name] = StageRow(name, run.stage.kind, run.stage.model)
        _add(row, run)
    places = {name: place for place, name in enumerate(rows)}

    def path(name: str) -> tuple[int, ...]:
        parts = name.split(".")
        around = [".".join(parts[: n + 1]) for n in range(len(parts))]
        return tuple(places.get(part, -1) for part in around)

    return [rows[name] for name in sorted(rows, key=path)]


def _add(row: StageRow, run: StageRun) -> None:
    row.executions += 1
    status = run.status
    if run.start_s is not None:
        row.start_s = min(run.start_s, run.start_s if row.start_s is None else row.start_s)
    if run.end_s is not None and not run.skipped:
        row.end_s = max(run.end_s, row.end_s or 0.0)
    if status == "skipped":
        row.skipped += 1
        return
    row.done += len(run.done)
    row.total += (run.stage.items if run.total is None else run.total) - len(run.dropped)
    row.running += run.running if not run.over else 0
    row.ready += run.ready
    row.waiting += status == "waiting"
    row.failed = row.failed or status == "failed"
