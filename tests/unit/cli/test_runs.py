"""`fate runs`: list, show, prune."""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.graphs import chain, cluster, profile
from typer.testing import CliRunner, Result

from fate.cli.runs import app
from fate.core.options import SchedulerOptions
from fate.domain.errors import FateError
from fate.domain.messages import Expanded, Record, Submitted, WorkflowEnded, WorkflowStatus
from fate.store import RUN_FILE, Header, Journal, RunStore
from fate.store.runs import RunInfo, describe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    return tmp_path


def run(hour: int, status: WorkflowStatus | None = None, *, job: bytes = b"{}") -> Path:
    """Store a run of a chain of three, of which one item is done."""
    path = RunStore().new(datetime(2026, 11, 24, hour, tzinfo=UTC)) / RUN_FILE
    on, graph = cluster(), chain("w", "ABC")
    header = Header(
        run=path.parent.name,
        created_at=f"2026-11-24T{hour:02}:00:00+00:00",
        simulated=False,
        policy="fate",
        cluster=on,
        options=SchedulerOptions(),
        profile=profile(on),
        workflow="chain",
    )
    with Journal.create(path, header, job) as journal:
        journal.append(Record(at_s=0.0, events=(Submitted(graph=graph),)))
        journal.append(Record(at_s=1.0, events=(Expanded(instance="w/s0", tails=((), ())),)))
        journal.outputs.put("w/s0", 0, "text", {})
        if status is not None:
            end = WorkflowEnded(workflow="w", status=status, reason="because")
            journal.append(Record(at_s=2.5, commands=(end,)))
            journal.set_end(status)
    return path


def command(*words: str) -> Result:
    """Run `fate runs`."""
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def listed() -> list[RunInfo]:
    """Return what `list --json` says."""
    return msgspec.json.decode(command("list", "--json").stdout, type=list[RunInfo])


def test_a_list_tells_how_far_each_run_came() -> None:
    """Ended, interrupted, running and unreadable ones, newest first."""
    run(8, "ok")
    run(9)
    path = run(10)
    broken = run(11)
    broken.write_bytes(b"no database")
    with Journal.go_on(path):
        found = listed()
    assert [r.status for r in found] == ["unreadable", "running", "interrupted", "ok"]
    assert [(r.items_done, r.items) for r in found[1:]] == [(1, 4)] * 3
    assert [r.makespan_s for r in found[1:]] == [None, None, 2.5]
    assert [r.resumable for r in found[1:]] == [False, True, False]
    assert "not a run file" in found[0].problem
    text = command().stdout
    assert "interrupted" in text and "1/4" in text and "2.5 s" in text


def test_runs_of_an_older_format_are_listed_as_such() -> None:
    """They are not guessed at."""
    path = run(8, "ok")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert "written by an older version of fate" in describe(path).problem


def test_show_says_why_it_failed_and_how_to_go_on() -> None:
    """Stages with items, the reason, the command."""
    path = run(8, "failed")
    text = command("show", "last").stdout
    assert "w: because" in text and f"fate resume {path.parent.name}" in text
    assert "w/s0" in text and "?" in text
    shown: dict[str, Any] = msgspec.json.decode(command("show", "last", "--json").stdout)
    assert [stage["items"] for stage in shown["stages"]] == [2, None, None]


def test_prune_deletes_what_meets_every_condition() -> None:
    """The newest are kept, others by status and age; a running one is never deleted."""
    old, failed, running, newest = run(8, "ok"), run(9, "failed"), run(10, "ok"), run(11, "ok")
    for path in (old, failed, running):
        os.utime(path, (0, 0))
    asked = ("prune", "--keep", "1", "--older-than", "30d", "--status", "ok")
    with Journal.go_on(running):
        os.utime(running, (0, 0))
        assert "would delete 1 run" in command(*asked, "--dry-run").stdout
        assert old.exists()
        assert "deleted 1 run" in command(*asked, "--yes").stdout
    assert [p.exists() for p in (old, failed, running, newest)] == [False, True, True, True]
    assert command("prune", "--keep", "4", "--yes").stdout == "nothing to delete\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "say what to delete"),
        (("--older-than", "soon"), "not a duration: 'soon'"),
        (("--status", "done"), "--status done: one of"),
        (("--keep", "0"), "nobody to ask"),
    ],
)
def test_prune_refuses_what_is_not_clear(words: tuple[str, ...], problem: str) -> None:
    """One line says what is missing."""
    run(8, "ok")
    with pytest.raises(FateError, match=problem):
        command("prune", *words)
