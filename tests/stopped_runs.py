"""Runs on fake devices that a process leaves in the middle, with their real files."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fate.config import ClusterSpec, LocalDevice, ModelSpec
from fate.cost.profile import guess_profile
from fate.domain.messages import Record
from fate.engines.base import CallRequest, Engine
from fate.engines.fake import FakeEngine
from fate.jobs import Job, assemble
from fate.session import Choice, Finished, run_job
from fate.workflow.builder import Workflow

MIB = 2**20


def job(lines: int = 6, last: str = "") -> Job:
    """A split, a map, a judge on another model (its prompt is `last`), for two sets of inputs."""
    wf = Workflow("brief", roles={"fast": "a", "strong": "b"})
    text = wf.input("text")
    parts = wf.split("parts", of=text, by="lines")
    notes = wf.llm("notes", model="fast", map=parts, prompt="Note: {{ item }}", max_tokens=5)
    wf.llm("sum", model="strong", prompt=last or f"Sum: {notes}", max_tokens=7)
    models = {name: ModelSpec(source="remote", weight_bytes=30 * MIB) for name in "ab"}
    local = {
        m: s.model_copy(update={"source": f"https://x/{m}#sha256={'0' * 64}"})
        for m, s in models.items()
    }
    devices = {f"d{n}": LocalDevice(engine="fake", memory=200 * MIB) for n in range(2)}
    cluster = ClusterSpec(models=local, devices=dict(devices), policy="late-eft")
    rows = [{"text": "\n".join(f"{who} {n}" for n in range(lines))} for who in ("one", "two")]
    return assemble(wf.to_spec(), rows, cluster)


def engines(of: Job, answer: Callable[[CallRequest], str] | None = None) -> Mapping[str, Engine]:
    """Fake engines for a job's devices."""
    more: dict[str, Any] = {} if answer is None else {"answer": answer}
    return {
        setup.device.id: FakeEngine(setup.device, setup.models, **more)
        for setup in of.resolved.devices
    }


async def run_to_end(path: Path, of: Job, **options: Any) -> Finished:
    """Run a job to its end, its file at `path`."""
    opened = options.pop("engines", None) or engines(of)
    for engine in opened.values():
        await engine.open()
    profile = guess_profile(of.resolved.cluster)
    return await run_job(of, opened, Choice(), profile=profile, journal_path=path, **options)


def killed_copies(tmp_path: Path, of: Job, **options: Any) -> tuple[Finished, list[Path]]:
    """Run a job; return it with copies of its files as a kill after each record leaves them."""
    path, copies = tmp_path / "whole" / "run.sqlite", list[Path]()

    def copy(record: Record) -> None:
        folder = tmp_path / f"killed-{len(copies)}"
        folder.mkdir()
        for file in path.parent.glob("run.sqlite*"):
            shutil.copy(file, folder / file.name)
        copies.append(folder / path.name)

    return asyncio.run(run_to_end(path, of, on_record=copy, **options)), copies
