"""`fate resume` on runs that were killed or failed: what it prints, writes and returns."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from tests.stopped_runs import engines, job, killed_copies, run_to_end
from typer.testing import CliRunner, Result

from fate.cli.resume import resume
from fate.domain.errors import FateError
from fate.engines.base import CallRequest
from fate.jobs import Job
from fate.store.runs import RUN_FILE, RunStore, describe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path / "home"))
    return tmp_path


def killed(home: Path, of: Job, share: float = 0.6) -> tuple[Path, int]:
    """Keep a run as a kill in the middle leaves it; return its file and the items of all of it."""
    _, copies = killed_copies(home, of)
    folder = RunStore().new()
    for file in copies[int(share * len(copies))].parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder / RUN_FILE, describe(home / "whole" / RUN_FILE).items_done


def call(*arguments: str) -> Result:
    """Run the command; outputs and notes are apart."""
    app = typer.Typer()
    app.command()(resume)
    return CliRunner().invoke(app, list(arguments))


def test_a_killed_run_goes_on_to_its_end(home: Path) -> None:
    """It says what is kept, prints all outputs, and counts the interruption, not a failure."""
    path, items = killed(home, job())
    kept = describe(path).items_done
    assert 0 < kept < items
    result = call("last", "--json", "-")
    assert result.exit_code == 0, result.output
    assert "goes on at" in result.stderr and f"{kept} of " in result.stderr
    figures = json.loads(result.stdout)
    assert (figures["status"], figures["interruptions"]) == ("ok", 1)
    assert (figures["failed_attempts"], figures["device_losses"]) == (0, 0)
    assert set(figures["outputs"]) == {"brief-0", "brief-1"}
    assert describe(path).status == "ok" and describe(path).items_done == items


def test_a_run_that_ended_well_is_printed_again(home: Path) -> None:
    """Nothing runs; the outputs are those of the first time."""
    path, _ = killed(home, job())
    first, second = call(str(path)), call(str(path))
    assert first.exit_code == second.exit_code == 0
    assert second.stdout == first.stdout != ""
    assert "has ended well; nothing is left to do" in second.stderr
    assert describe(path).interruptions == 1


def test_files_are_written_where_the_run_was_told_to(home: Path) -> None:
    """Unless options say otherwise; a place that is gone is an error before anything runs."""
    path, items = killed(home, replace(job(), targets={"out": str(home / "kept.jsonl")}))
    other = home / "other.jsonl"
    assert call(str(path), "--out", str(other)).exit_code == 0
    assert not (home / "kept.jsonl").exists()
    assert call(str(path)).exit_code == 0
    assert (home / "kept.jsonl").read_text() == other.read_text()
    gone = replace(job(), targets={"out": str(home / "gone" / "out.jsonl")})
    path, _ = killed(home / "again", gone)
    before = describe(path).items_done
    refused = call(str(path))
    assert isinstance(refused.exception, FateError)
    assert "the run was started with it, give another one" in str(refused.exception)
    assert describe(path).items_done == before < items


def test_what_was_broken_meanwhile_mended_ends_well() -> None:
    """A run that failed tries again what is missing."""

    def broken(request: CallRequest) -> str:
        if any("two 3" in part.text for part in request.parts):
            raise FateError("out of words")
        return "fine"

    of, path = job(), RunStore().new() / RUN_FILE
    failed = asyncio.run(run_to_end(path, of, engines=engines(of, broken)))
    assert failed.status == "failed"
    result = call(path.parent.name)
    assert result.exit_code == 0 and describe(path).status == "ok"


def test_a_run_that_fails_again_exits_with_1_and_says_how_to_go_on(home: Path) -> None:
    """A prompt that cannot be rendered, now or later."""
    path, _ = killed(home, job(last="{{ stages.notes.output[99] }}"))
    result = call(str(path))
    assert result.exit_code == 1
    assert f"to go on: fate resume {path.parent.name}" in result.stderr
    assert describe(path).status == "failed"


@pytest.mark.usefixtures("home")
def test_an_unknown_run_is_one_line() -> None:
    """With what to do."""
    result = call("nope")
    assert isinstance(result.exception, FateError) and "nope" in str(result.exception)
