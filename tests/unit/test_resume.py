"""Runs that go on in another process: the whole path, on fake engines and real run files."""

import asyncio
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stopped_runs import MIB, engines, job, killed_copies, run_to_end

from fate.domain.errors import FateError
from fate.domain.messages import Record, Resumed
from fate.drivers.replay import replay
from fate.engines.base import CallRequest
from fate.resume import Stopped, finished, go_on, stopped, where_it_stands
from fate.session import Finished, Process
from fate.store.database import StoreError
from fate.store.runs import describe

if TYPE_CHECKING:
    from fate.drivers.run import Runtime


async def _go_on(run: Stopped, **options: Any) -> Finished:
    opened = engines(run.job)
    for engine in opened.values():
        await engine.open()
    return await go_on(run, where_it_stands(run, **options), Process(engines=opened))


def resumed(path: Path, **options: Any) -> Finished:
    """Go on with a run in this process, to its end."""
    with stopped(path) as run:
        return asyncio.run(_go_on(run, **options))


def records(path: Path) -> list[Record]:
    """Return a run's records."""
    with ExitStack() as stack:
        return list(stack.enter_context(stopped(path)).records)


def test_a_run_killed_after_any_record_ends_like_one_that_was_not(tmp_path: Path) -> None:
    """The file is all the next process has; what it finds finished it does not run again."""
    whole, copies = killed_copies(tmp_path, job())
    assert whole.status == "ok"
    for path in copies[:: max(len(copies) // 12, 1)]:
        assert describe(path).status == "interrupted" and describe(path).resumable
        before = describe(path).items_done
        again = resumed(path)
        assert (again.status, again.results) == ("ok", whole.results)
        assert describe(path).status == "ok" and describe(path).items_done == 16 >= before
        with stopped(path) as run:
            replay(run.records, run.setup)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_torn_wal_loses_the_last_records_and_nothing_else(tmp_path: Path, share: float) -> None:
    """A power cut in the middle of a write: what is whole is used."""
    whole, copies = killed_copies(tmp_path, job())
    path = copies[-2]
    wal = path.with_name("run.sqlite-wal")
    wal.write_bytes(wal.read_bytes()[: int(wal.stat().st_size * share)])
    path.with_name("run.sqlite-shm").unlink()
    assert resumed(path).results == whole.results


def test_a_run_killed_before_its_first_record_begins(tmp_path: Path) -> None:
    """Accepted is durable: header and job are there before anything runs."""
    whole, copies = killed_copies(tmp_path, job())
    path = copies[0]
    path.with_name("run.sqlite-wal").unlink()
    path.with_name("run.sqlite-shm").unlink()
    assert records(path) == []
    assert resumed(path).results == whole.results


def test_a_run_that_ended_well_says_what_it_found(tmp_path: Path) -> None:
    """Also when it was killed between its last record and the note of its end."""
    whole, copies = killed_copies(tmp_path, job())
    for path in (tmp_path / "whole" / "run.sqlite", copies[-1]):
        with stopped(path) as run:
            assert run.over and run.well
            found = finished(run)
        assert (found.results, found.ended) == (whole.results, whole.ended)
        assert describe(path).status == "ok"


def test_a_cancelled_run_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ended its workflows; what was finished by then is kept."""
    of, path = job(), tmp_path / "run.sqlite"
    seen: list[Runtime] = []

    def stop(record: Record) -> None:
        if len(record.events) and describe(path).items_done >= 0 and len(told) == 12:
            seen[0].stop("cancelled by the user")
        told.append(record)

    told: list[Record] = []
    cancelled = asyncio.run(run_to_end(path, of, on_record=stop, on_start=seen.append))
    assert cancelled.status == "cancelled" and describe(path).status == "cancelled"
    whole, _ = killed_copies(tmp_path, of)
    assert resumed(path).results == whole.results
    assert sum(isinstance(e, Resumed) for r in records(path) for e in r.events) == 1


def test_a_failed_run_tries_again(tmp_path: Path) -> None:
    """Whatever was wrong has been mended meanwhile; the other workflow is not touched."""
    of, path = job(), tmp_path / "run.sqlite"

    def broken(request: CallRequest) -> str:
        if any("two 3" in part.text for part in request.parts):
            raise FateError("out of words")
        return "fine"

    failed = asyncio.run(run_to_end(path, of, engines=engines(of, broken)))
    assert [end.status for end in failed.ended] == ["ok", "failed"]
    again = resumed(path)
    assert [end.status for end in again.ended] == ["ok", "ok"]
    assert again.results[0] == failed.results[0]


def test_only_one_process_goes_on_with_a_run(tmp_path: Path) -> None:
    """The other one is told which."""
    _, copies = killed_copies(tmp_path, job())
    with stopped(copies[5]):
        assert describe(copies[5]).status == "running"
        with pytest.raises(StoreError, match="is going on in process"), stopped(copies[5]):
            pass


def test_models_that_changed_are_refused(tmp_path: Path) -> None:
    """Other weights under the same name would make another run of it."""
    _, copies = killed_copies(tmp_path, job())
    with sqlite3.connect(copies[3]) as connection:
        query = "UPDATE meta SET value = replace(value, ?, ?) WHERE key = 'job'"
        connection.execute(query, (f"{30 * MIB}", f"{31 * MIB}"))
    connection.close()
    with pytest.raises(FateError, match="model 'a' is not what it was"), stopped(copies[3]):
        pass
