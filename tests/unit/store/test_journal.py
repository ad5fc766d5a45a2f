"""Journal and outputs: one file, one transaction."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fate.core.options import SchedulerOptions
from fate.cost.profile import guess_profile
from fate.domain.catalog import Cluster, Device, Model
from fate.domain.graph import Chunk, Graph, Segment, Stage
from fate.domain.messages import (
    Call,
    Done,
    Expanded,
    ItemDone,
    Load,
    Planned,
    Record,
    Submitted,
    WorkflowEnded,
)
from fate.domain.plan import Memo, Plan, Search
from fate.store import Header, Journal, Outputs, StoreError
from fate.view.fold import fold
from fate.view.metrics import summary


@pytest.fixture
def header() -> Header:
    """A header with everything in it."""
    cluster = Cluster(
        devices=(Device(id="d0", engine="fake", memory_bytes=100),),
        models=(Model(id="a", weight_bytes=80),),
    )
    return Header(
        run="r1",
        created_at="2026-11-24T05:33:55+00:00",
        simulated=False,
        policy="fate",
        policy_options={"max_shards": 2},
        seed=7,
        cluster=cluster,
        options=SchedulerOptions(chunk_s=1.0),
        profile=guess_profile(cluster),
        engines=({"name": "fake", "version": "1", "models": {"a": "sha"}},),
        workflow="demo.yaml",
        version="0.1.0",
    )


@pytest.fixture
def records() -> list[Record]:
    """Records with every kind of nesting."""
    chunk = Chunk("w/s", 0, 1)
    plan = Plan(
        policy="fate",
        orders=((chunk,),),
        memo=Memo(orders=((chunk,),), cursor=1),
        search=Search(solver="OPTIMAL", gap=0.01),
    )
    graph = Graph(id="w", stages=(Stage(id="s", kind="llm", model="a", prompt=(Segment("k", 3),)),))
    return [
        Record(at_s=0.0, events=(Submitted(graph=graph), Expanded(instance="w/s"))),
        Record(
            at_s=0.25,
            events=(Planned(version=1, plan=plan),),
            commands=(Load(activity=1, device="d0", model="a"),),
        ),
        Record(
            at_s=1 / 3,
            events=(Done(activity=1, seconds=0.1),),
            commands=(Call(activity=2, device="d0", model="a", chunk=chunk),),
        ),
        Record(
            at_s=0.5,
            events=(ItemDone(activity=2, item=0, prompt_tokens=3), Done(activity=2)),
            commands=(WorkflowEnded(workflow="w", status="ok"),),
        ),
    ]


@pytest.fixture
def journal(tmp_path: Path, header: Header) -> Iterator[Journal]:
    """An empty journal."""
    with Journal.create(tmp_path / "runs" / "r1" / "run.sqlite", header) as journal:
        yield journal


def test_what_is_written_is_read_back(
    journal: Journal, header: Header, records: list[Record]
) -> None:
    """Header, records in order and the end survive, floats to the last bit."""
    for record in records:
        journal.append(record)
    assert journal.end is None
    journal.set_prediction(12.5)
    journal.set_end("ok")
    journal.close()
    with Journal.open(journal.path) as again:
        assert list(again.records()) == records
        assert again.header.predicted_makespan_s == 12.5
        assert (again.header.policy_options, again.header.profile) == (
            header.policy_options,
            header.profile,
        )
        assert again.end is not None and again.end.status == "ok"


def test_a_header_is_what_the_views_ask_for(header: Header) -> None:
    """Views and store do not import each other: this is where they meet."""
    made = summary(header, fold(header.cluster, []))
    assert (made.policy, made.seed, made.engines) == ("fate", 7, header.engines)


def test_uncommitted_work_is_lost_whole(journal: Journal, records: list[Record]) -> None:
    """A crash keeps an output and the event that names it, or neither."""
    journal.append(records[0])
    journal.outputs.put("w/s", 0, "kept", {})
    journal.commit()
    journal.append(records[1])
    journal.outputs.put("w/s", 1, "lost", {})
    with Journal.open(journal.path) as seen:
        assert list(seen.records()) == records[:1]
        assert seen.outputs.items("w/s") == [(0, "kept")]
        with pytest.raises(StoreError, match=r"no output of w/s\[1\]"):
            seen.outputs.get("w/s", 1)


def test_long_records_are_squeezed_and_damaged_ones_named(journal: Journal) -> None:
    """What a plan remembers names every stage; half a body is said to be none."""
    memo = Memo(nodes=tuple(f"w/stage-{n}" for n in range(1_000)), devices=(0, 1) * 500)
    plan = Plan(policy="foresight", orders=((), ()), memo=memo)
    record = Record(at_s=1.0, events=(Planned(version=1, plan=plan),))
    journal.append(record)
    journal.commit()
    with sqlite3.connect(journal.path) as connection:
        (size,) = connection.execute("SELECT length(body) FROM record").fetchone()
        assert size < len(msgspec.json.encode(record)) / 3
        with Journal.open(journal.path) as seen:
            assert list(seen.records()) == [record]
        connection.execute("UPDATE record SET body = substr(body, 1, length(body) / 2)")
        connection.commit()
    connection.close()
    with (
        Journal.open(journal.path) as seen,
        pytest.raises(StoreError, match="record 1 cannot be read"),
    ):
        list(seen.records())


def test_outputs(journal: Journal) -> None:
    """A later attempt replaces; items come in order whatever order they were put in."""
    for item, text in ((10, "k"), (2, "c"), (2, "C \N{SNOWMAN}\0 \n")):
        journal.outputs.put("w/s", item, text, {"finish": "stop"})
    journal.outputs.put("w/t", 0, "other", {})
    journal.commit()
    outputs = Outputs(journal.path)
    assert outputs.items("w/s") == [(2, "C \N{SNOWMAN}\0 \n"), (10, "k")]
    assert outputs.get("w/s", 10) == "k"
    assert outputs.meta("w/s", 10) == {"finish": "stop"}
    assert outputs.count() == 3
    outputs.close()
    outputs.close()


def test_only_the_owner_can_read_a_run(journal: Journal, records: list[Record]) -> None:
    """Prompts and answers are private; so are the side files of the database."""
    journal.append(records[0])
    journal.commit()
    files = sorted(journal.path.parent.iterdir())
    names = ["run.sqlite", "run.sqlite-shm", "run.sqlite-wal", "run.sqlite.lock"]
    assert [file.name for file in files] == names
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_files_that_are_no_run_are_refused_in_one_line(tmp_path: Path, header: Header) -> None:
    """Missing, foreign, of another version, taken: the message says which file and what."""
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not a database, but long enough to look like one" * 50)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    for path, problem in (
        (tmp_path / "missing", "no such run file"),
        (foreign, "not a run file"),
        (empty, "run format 0, this version of fate reads 4"),
    ):
        with pytest.raises(StoreError, match=problem) as error:
            Journal.open(path)
        assert str(path) in str(error.value)
    with pytest.raises(StoreError, match="stored there already"):
        Journal.create(empty, header)


def full(journal: Journal) -> None:
    """Let the file grow no more."""
    connection = journal.outputs._connection  # pyright: ignore[reportPrivateUsage] - a full disk
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_ends_writing_with_one_line_and_loses_nothing(
    tmp_path: Path, header: Header
) -> None:
    """What was committed stays; nothing is written behind a write that failed."""
    path = tmp_path / "run.sqlite"
    with Journal.create(path, header) as journal:
        journal.append(Record(at_s=1.0, events=(ItemDone(activity=1, item=0),)))
        journal.outputs.put("w/a", 0, "kept", {})
        journal.commit()
        full(journal)
        with pytest.raises(StoreError, match="cannot be written: database or disk is full") as at:
            journal.outputs.put("w/a", 1, "x" * 100_000, {})
        assert "fate resume" in str(at.value)
        assert "\n" not in str(at.value)
        journal.append(Record(at_s=2.0, events=(ItemDone(activity=1, item=1),)))
        with pytest.raises(StoreError, match="cannot be written"):
            journal.commit()
        with pytest.raises(StoreError, match="cannot be written"):
            journal.outputs.put("w/a", 2, "small", {})
    with Journal.open(path) as again:
        assert [record.at_s for record in again.records()] == [1.0]
        assert again.outputs.get("w/a", 0) == "kept"
