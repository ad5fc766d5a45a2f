"""`fate run`: a real workflow on real models."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fate.cli.options import PolicyName, Roles, Settings, parse_pairs, parse_settings
from fate.cli.timeline import kept_sheet
from fate.domain.errors import FateError
from fate.drivers.clock import WallClock
from fate.drivers.run import Runtime
from fate.drivers.warm import start_warm_up
from fate.jobs import Job, load_job
from fate.session import (
    Choice,
    Finished,
    choose,
    fetch_weights,
    graphs_of,
    known_profile,
    make_setup,
    open_engines,
    predict,
    remember,
    run_job,
)
from fate.store.runs import RUN_FILE, RunStore
from fate.view.metrics import Meters, Summary, summary
from fate.view.progress import Progress
from fate.view.report import render
from fate.view.timeline import write_timeline

_EXIT_CODES = {"ok": 0, "failed": 1, "cancelled": 130}


def run(
    workflow: Annotated[Path, typer.Argument(metavar="WORKFLOW", help="Workflow file (YAML).")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; NAME=@FILE reads it."),
    ] = None,
    each: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON Lines of inputs: one workflow for each line."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write results as JSON Lines, in order of inputs."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file; by default made from this machine."),
    ] = None,
    roles: Roles = None,
    policy: PolicyName = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Seeds every random draw of the policy.")] = 0,
    json_: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the summary as JSON; - is stdout."),
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the timeline as one HTML file.")
    ] = None,
    no_reuse: Annotated[
        bool, typer.Option("--no-reuse", help="Make every call, identical ones too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress lines.")] = False,
) -> None:
    """Run WORKFLOW on real models, planned over all devices; print its outputs.

    Ctrl-C ends cleanly and keeps what is finished; a second Ctrl-C stops at once. The exit code
    is 0 when every workflow ended well, 1 when one failed, 130 when the run was cancelled.
    """
    job = load_job(
        workflow,
        assignments=inputs or (),
        each=each,
        cluster=cluster,
        roles=parse_pairs(roles or (), "--role"),
        reuse=not no_reuse,
    )
    choice = Choice(policy=policy, options=parse_settings(settings or ()), seed=seed)
    targets = _Targets(out, json_, timeline)
    targets.check()
    job = replace(job, targets=targets.named())
    start_warm_up(choose(job, choice)[0])
    show = _Show(job, (lambda _: None) if quiet else _say)
    weights = fetch_weights(job, show.say)
    journal_path = RunStore().new() / RUN_FILE
    finished = asyncio.run(_run(job, choice, weights, journal_path, show))
    remember(job, finished.profile, finished.seen)
    _publish(job, finished, show, journal_path, targets)
    raise typer.Exit(_EXIT_CODES[finished.status])


@dataclass(frozen=True, slots=True)
class _Targets:
    """Files to write at the end."""

    out: Path | None
    json: str | None
    timeline: Path | None

    def named(self) -> dict[str, str]:
        """Return the files by option, with paths that hold from any directory."""
        given = {"out": self.out, "json": self.json, "timeline": self.timeline}
        return {
            option: "-" if target == "-" else str(Path(target).resolve())
            for option, target in given.items()
            if target is not None
        }

    def check(self) -> None:
        """Refuse before the run what could not be written after it."""
        for path in (
            self.out,
            Path(self.json) if self.json not in (None, "-") else None,
            self.timeline,
        ):
            if path is None:
                continue
            if path.is_dir() or not os.access(path.parent if not path.exists() else path, os.W_OK):
                raise FateError(f"{path}: cannot be written; choose a file in a folder that exists")


class _Show:
    """Progress lines, fed record by record."""

    def __init__(self, job: Job, say: Callable[[str], None]) -> None:
        self.progress = Progress(job.resolved.cluster, say)
        self.say = say
        self.clock = WallClock()


async def _run(
    job: Job, choice: Choice, weights: Mapping[str, Path], journal_path: Path, show: _Show
) -> Finished:
    profile = known_profile(job)
    async with open_engines(job, weights, journal_path.parent) as engines:
        policy = choose(job, choice)[0]
        setup = make_setup(job, policy, profile, choice.seed)
        predicted_s = await asyncio.to_thread(predict, graphs_of(job), setup)
        return await run_job(
            job,
            engines,
            choice,
            profile=profile,
            journal_path=journal_path,
            predicted_s=predicted_s,
            on_record=lambda record: show.progress.add(record, show.clock.now_s()),
            on_start=lambda runtime: _on_interrupt(runtime, show.say),
        )


def _on_interrupt(runtime: Runtime, say: Callable[[str], None]) -> None:
    """Ctrl-C ends the run cleanly; the second one cancels the whole task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def first() -> None:
        say("stopping: what is finished is kept; Ctrl-C again stops at once")
        runtime.stop("cancelled by the user")
        loop.add_signal_handler(signal.SIGINT, second)

    def second() -> None:
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, first)
    loop.add_signal_handler(signal.SIGTERM, first)


def _publish(
    job: Job, finished: Finished, show: _Show, journal_path: Path, targets: _Targets
) -> None:
    """Write the files, print the outputs on stdout and the summary on stderr."""
    history = show.progress.fold.history()
    figures = summary(
        finished.header,
        history,
        meters=Meters(
            planning_s=tuple(finished.usage.plan_s),
            scheduler_cpu_s=finished.usage.cpu_s,
            cores=len(os.sched_getaffinity(0)),
        ),
        outputs=_outputs(job, finished),
        timeline=str(targets.timeline) if targets.timeline else None,
        journal=str(journal_path),
    )
    if targets.timeline:
        write_timeline(targets.timeline, [kept_sheet(str(journal_path), figures)])
    if targets.out:
        targets.out.write_text("".join(_result_lines(job, finished)), encoding="utf-8")
    _write_json(figures, targets.json)
    if targets.json != "-" and not targets.out:
        _print_outputs(figures.outputs)
    print(render(figures, history), file=sys.stderr)
    print(_memory(job, finished), file=sys.stderr)
    for end in finished.ended:
        if end.status == "failed":
            print(f"failed: {end.workflow}: {end.reason}", file=sys.stderr)


def _outputs(job: Job, finished: Finished) -> dict[str, Any]:
    if len(job.inputs) == 1:
        return dict(finished.results[0])
    return {end.workflow: dict(r) for end, r in zip(finished.ended, finished.results, strict=True)}


def _result_lines(job: Job, finished: Finished) -> list[str]:
    lines: list[str] = []
    for index, (end, results) in enumerate(zip(finished.ended, finished.results, strict=True)):
        row: dict[str, Any] = {"index": index, "status": end.status, "outputs": results}
        if end.reason:
            row["reason"] = end.reason
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return lines


def _write_json(figures: Summary, target: str | None) -> None:
    if target is None:
        return
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode() + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def _print_outputs(outputs: Mapping[str, Any]) -> None:
    for name, value in outputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        print(f"{name}:\n{text.strip()}\n")


def _memory(job: Job, finished: Finished) -> str:
    """The declared budget of each device beside what its process really held."""
    parts = [
        f"{device.id} {device.memory_bytes / 2**20:.0f} MiB declared, "
        f"{finished.rss_bytes[device.id] / 2**20:.0f} MiB resident at most"
        for device in job.resolved.cluster.devices
        if finished.rss_bytes.get(device.id)
    ]
    return "memory: " + ("; ".join(parts) or "not reported by these engines")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
