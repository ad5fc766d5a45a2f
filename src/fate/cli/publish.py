"""What a run leaves behind: outputs on stdout, the summary on stderr, files where asked."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fate.cli.show import Show
from fate.cli.timeline import kept_sheet
from fate.cli.verdict import verdict
from fate.domain.errors import FateError
from fate.domain.messages import WorkflowStatus
from fate.jobs import Job
from fate.session import Finished
from fate.store.runs import RunStore
from fate.view.metrics import Meters, Summary, summary
from fate.view.report import render
from fate.view.timeline import write_timeline

#: Exit codes by how a run ended.
EXIT_CODES: dict[WorkflowStatus, int] = {"ok": 0, "failed": 1, "cancelled": 130}


@dataclass(frozen=True, slots=True)
class Targets:
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


def publish(
    job: Job, finished: Finished, show: Show, journal_path: Path, targets: Targets
) -> Summary:
    """Write the files, print the outputs on stdout and the summary on stderr."""
    history = show.fold.history()
    figures = summary(
        finished.header,
        history,
        meters=Meters(
            planning_s=tuple(finished.usage.plan_s),
            scheduler_cpu_s=finished.usage.cpu_s,
            cores=show.outlook.cores,
            expected_end=tuple(show.outlook.points),
        ),
        outputs=_outputs(job, finished),
        timeline=str(targets.timeline) if targets.timeline else None,
        journal=str(journal_path),
    )
    if targets.timeline:
        write_timeline(targets.timeline, [kept_sheet(str(journal_path), figures)])
    if targets.out:
        targets.out.write_text("".join(_result_lines(finished)), encoding="utf-8")
    write_json(figures, targets.json)
    if targets.json != "-" and not targets.out:
        _print_outputs(figures.outputs)
    print(render(figures, history), file=sys.stderr)
    print(_memory(job, finished), file=sys.stderr)
    for line in verdict(show.fold, journal_path):
        print(line, file=sys.stderr)
    for end in finished.ended:
        if end.status == "failed":
            print(f"failed: {end.workflow}: {end.reason}", file=sys.stderr)
    if finished.status != "ok":
        print(f"what is finished is kept; to go on: {how_to_go_on(journal_path)}", file=sys.stderr)
    return figures


def until_end(running: Coroutine[None, None, Finished], run_file: Path) -> Finished:
    """Run to the end; when that is cut short, say how to go on and leave with 130."""
    gc.freeze()  # libraries and kernels stay: the collector need not look at them again and again
    try:
        return asyncio.run(running)
    except (asyncio.CancelledError, KeyboardInterrupt):
        begun = f"to go on: {how_to_go_on(run_file)}" if run_file.exists() else "nothing was begun"
        print(f"interrupted; {begun}", file=sys.stderr)
        raise SystemExit(EXIT_CODES["cancelled"]) from None


def how_to_go_on(run_file: Path) -> str:
    """Return the command that goes on with a run."""
    kept = run_file.parent.parent == RunStore().root
    return f"fate resume {run_file.parent.name if kept else run_file}"


def write_json(figures: msgspec.Struct, target: str | None) -> None:
    """Write figures as JSON to a file, or to stdout for `-`."""
    if target is None:
        return
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode() + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def _outputs(job: Job, finished: Finished) -> dict[str, Any]:
    if len(job.inputs) == 1:
        return dict(finished.results[0])
    return {end.workflow: dict(r) for end, r in zip(finished.ended, finished.results, strict=True)}


def _result_lines(finished: Finished) -> list[str]:
    lines: list[str] = []
    for index, (end, results) in enumerate(zip(finished.ended, finished.results, strict=True)):
        row: dict[str, Any] = {"index": index, "status": end.status, "outputs": results}
        if end.reason:
            row["reason"] = end.reason
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return lines


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
