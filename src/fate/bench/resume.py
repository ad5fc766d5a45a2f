"""`fate bench resume`: runs killed at random moments end like runs that were not.

`fake` kills in this process: the files are taken as they are at that moment. `llamacpp` kills real
processes with SIGKILL. `long` is the time it takes to recover a run of many items, `command` that
from the start of `fate resume` to the next item of such a run.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fate.bench.kills import (
    Kill,
    KilledError,
    Workload,
    fake_engines,
    fake_job,
    finished_items,
    long_run,
    outputs,
    run_until,
)
from fate.bench.overhead import setup_of
from fate.bench.report import Echo, Report, Target
from fate.bench.statistics import exact, middle
from fate.domain.messages import Call, Record
from fate.drivers.recover import recover
from fate.drivers.replay import replay
from fate.resume import go_on, stopped, where_it_stands
from fate.session import Finished, Process
from fate.store.journal import Journal
from fate.view.metrics import percentile

_POLICY = "late-eft"
#: Who decides in a run of `fate run`, where nothing else is said.
_DEFAULT = "foresight"
TARGETS = [
    Target(cell="fake", policy=_POLICY, metric="wrong", kind="at_most", bound=0.0),
    Target(cell="llamacpp", policy=_POLICY, metric="wrong", kind="at_most", bound=0.0),
    Target(cell="long", policy=_POLICY, metric="recover_s", kind="at_most", bound=2.0),
    Target(cell="command", policy=_DEFAULT, metric="back_at_work_s", kind="at_most", bound=2.0),
]


def resume(out: Path, echo: Echo, *, kills: int, processes: int, items: int, seed: int) -> int:
    """Measure and report; return how many targets are missed.

    Args:
        out: folder for the results.
        echo: where lines for people go.
        kills: kills on the fake engine.
        processes: kills of real processes on llama.cpp.
        items: items of the long run.
        seed: seeds the moments of the kills.
    """
    report = Report("resume", out, echo)
    report.show_machine()
    draw = random.Random(seed)  # noqa: S311  # not a secret
    with tempfile.TemporaryDirectory(prefix="fate-bench-") as name:
        folder = Path(name)
        if kills:
            _fake(report, folder, kills, draw)
        if processes:
            _llamacpp(report, folder / "llamacpp", processes, draw)
        if items:
            _long(report, folder, items)
            _command(report, Workload(folder=folder / "command"), items)
    report.show_rows()
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def _fake(report: Report, folder: Path, kills: int, draw: random.Random) -> None:
    job = fake_job(folder)
    whole = asyncio.run(run_until(job, folder / "whole" / "run.sqlite", Kill()))
    records = _records(folder / "whole" / "run.sqlite")
    moments = [Kill(record=n) for n in range(len(records))]
    moments += [Kill(answer=n) for n in range(sum(_calls(record) for record in records))]
    wrong, took = 0, list[float]()
    for number in range(kills):
        kill = draw.choice(moments)
        path = folder / f"kill-{number}" / "run.sqlite"
        with suppress(KilledError):
            asyncio.run(run_until(job, path, kill))
        killed = path.parent / "killed" / path.name
        seconds, problem = _resumed(killed if killed.exists() else path, whole)
        took.append(seconds)
        wrong += bool(problem)
        report.run({"cell": "fake", "kill": str(kill), "recover_s": seconds, "problem": problem})
    _verdict(report, "fake", kills, wrong)
    figure = exact(percentile(sorted(took), 0.5), kills)
    report.add("fake", _POLICY, "recover_s_p50", figure)


def _resumed(path: Path, whole: Finished) -> tuple[float, str]:
    """Go on with a run; return what recovery took [s], and what is wrong with the outcome."""
    started_s = time.perf_counter()
    with stopped(path) as run:
        if run.over and run.well:
            return time.perf_counter() - started_s, ""  # the kill came after the end
        left = where_it_stands(run)
        seconds = time.perf_counter() - started_s

        async def to_the_end() -> Finished:
            return await go_on(run, left, Process(engines=await fake_engines(run.job)))

        done = asyncio.run(to_the_end())
        if done.results != whole.results:
            return seconds, f"it ended {done.status} with other outputs"
        records = list(run.journal.records())
        replay(records, run.setup)
    return seconds, _twice(records)


def _twice(records: Sequence[Record]) -> str:
    """Return which items were recorded more than once."""
    again = [f"{name}[{item}]" for (name, item), n in finished_items(records).items() if n > 1]
    return f"recorded twice: {', '.join(again)}" if again else ""


def _llamacpp(report: Report, folder: Path, kills: int, draw: random.Random) -> None:
    load = Workload(folder=folder)
    load.prepare()
    code, run = load.run()
    expected = set(finished_items(_records(run)))
    report.echo(f"llamacpp: uninterrupted run ended {code} with {len(expected)} items")
    wrong = 0
    for _ in range(kills):
        at = draw.randrange(len(expected))
        code, run = load.run(kill_at=at)
        kept = outputs(run, finished_items(_records(run)))
        problem = _after(load, run, expected, kept)
        wrong += bool(problem)
        facts = {"cell": "llamacpp", "kill_at": at, "items_kept": len(kept), "problem": problem}
        report.run(facts)
        report.echo(f"llamacpp: killed with {len(kept)} items stored: {problem or 'correct'}")
    _verdict(report, "llamacpp", kills, wrong)


def _after(
    load: Workload, run: Path, expected: set[tuple[str, int]], kept: Mapping[tuple[str, int], str]
) -> str:
    """Resume a killed run; return what is wrong. Texts made anew may differ in the last bit.

    What an engine computes depends on its cache, hence only texts that were stored are compared.
    """
    code = load.resume(run)
    if code:
        return f"`fate resume` ended with {code}"
    records = _records(run)
    if set(finished_items(records)) != expected:
        return "not all items were finished"
    now = outputs(run, kept)
    if any(now.get(item) != text for item, text in kept.items()):
        return "what was finished has changed"
    return _twice(records)


def _long(report: Report, folder: Path, items: int) -> None:
    """Time how long a run of many items takes to recover, killed when nearly all are done."""
    path = folder / "long" / "run.sqlite"
    graph = long_run(path, items)
    took, cpu, records = list[float](), list[float](), list[Record]()
    for _ in range(3):
        started_s, cpu_s = time.perf_counter(), time.process_time()
        records = _records(path)
        recover(records[: -len(records) // 50], setup_of(_POLICY), {graph.id: lambda: graph})
        took.append(time.perf_counter() - started_s)
        cpu.append(time.process_time() - cpu_s)
    report.add("long", _POLICY, "recover_s", middle(took))
    report.add("long", _POLICY, "recover_cpu_s", middle(cpu))
    report.run({"cell": "long", "items": items, "records": len(records), "recover_s": took})


def _command(report: Report, load: Workload, items: int) -> None:
    """Time `fate resume` until the next item of a run is stored, killed when nearly all are."""
    load.prepare_long(items)
    _, run = load.run(kill_at=items * 9 // 10)
    took = [load.back_at_work(run) for _ in range(3)]
    for number, name in enumerate(("back_at_work_s", "back_at_work_cpu_s")):
        report.add("command", _DEFAULT, name, middle([each[number] for each in took]))
    report.run({"cell": "command", "items": items, "back_at_work_s": took})


def _verdict(report: Report, cell: str, kills: int, wrong: int) -> None:
    report.add(cell, _POLICY, "correct", exact(float(kills - wrong), kills))
    report.add(cell, _POLICY, "wrong", exact(float(wrong), kills))
    report.echo(f"{cell}: {kills - wrong} of {kills} kills ended correctly")


def _records(run: Path) -> list[Record]:
    with Journal.open(run) as journal:
        return list(journal.records())


def _calls(record: Record) -> int:
    calls: list[Any] = [c for c in record.commands if isinstance(c, Call)]
    return sum(call.chunk.stop - call.chunk.start for call in calls)
