"""What `fate bench resume` kills: a job on fake engines, processes, a long run."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fate.bench.overhead import layered, run_at
from fate.config import ClusterSpec, LocalDevice, ModelSpec
from fate.cost.profile import guess_profile
from fate.domain.errors import FateError
from fate.domain.graph import Graph, InstanceId
from fate.domain.messages import Call, ItemDone, Record, Reuse, RunTool
from fate.drivers.warm import kernel_cache
from fate.engines.base import CallRequest
from fate.engines.fake import FakeEngine, digest_answer
from fate.engines.gguf_synthetic import SyntheticSpec, synthetic
from fate.jobs import Job, assemble
from fate.session import Choice, Finished, run_job
from fate.store.journal import Journal
from fate.workflow.load import load_workflow

#: Maps with a body, a loop, a condition, tools, and calls that are identical to others.
WORKFLOW = """\
format: fate.workflow/1
name: brief
inputs: {text: {kind: text}}
roles: {fast: a, strong: b}
stages:
  parts: {kind: tool, tool: split, of: "{{ inputs.text }}", by: lines}
  study:
    kind: group
    map: {over: "{{ stages.parts.output }}"}
    stages:
      note: {kind: llm, model: fast, prompt: "Note {{ item }}", MORE}
      check: {kind: llm, model: strong, prompt: "Check {{ stages.note.output }}", MORE}
  titles: {kind: llm, model: fast, map: {over: "{{ stages.parts.output }}"}, \
prompt: "Note {{ item }}", MORE}
  polish:
    kind: group
    repeat: {max: 3, until: "{{ round == 3 }}"}
    stages:
      draft: {kind: llm, model: strong, prompt: "{{ stages.study.output | join }} {{ round }}", \
MORE}
      judge: {kind: llm, model: fast, prompt: "Judge {{ stages.draft.output }}", MORE}
  all: {kind: tool, tool: join, of: "{{ stages.titles.output }}"}
outputs:
  all: "{{ stages.all.output }}"
  study: "{{ stages.study.output }}"
  polish: "{{ stages.polish.output }}"
"""
_LINES = 6

#: One map, on engines that take no time; every item is a call of its own.
LONG_WORKFLOW = """\
format: fate.workflow/1
name: long
inputs: {text: {kind: text}}
roles: {fast: a}
stages:
  parts: {kind: tool, tool: split, of: "{{ inputs.text }}", by: lines}
  notes: {kind: llm, model: fast, map: {over: "{{ stages.parts.output }}"}, \
prompt: "Note {{ item }}", max_tokens: 4}
"""


#: An item of an instance.
Item: TypeAlias = tuple[InstanceId, int]


class KilledError(Exception):
    """This process would be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A moment: when the n-th record has taken effect, or while the n-th call is answered."""

    record: int = -1
    answer: int = -1


def fake_job(folder: Path) -> Job:
    """Return two workflows for two devices whose engines take no time."""
    path = folder / "workflow.yaml"
    path.write_text(WORKFLOW.replace("MORE", "max_tokens: 6"), encoding="utf-8")
    source = f"https://example.org/none.gguf#sha256={'0' * 64}"
    models = {name: ModelSpec(source=source, weight_bytes=30 * 2**20) for name in "ab"}
    devices = {f"d{n}": LocalDevice(engine="fake", memory=2**31) for n in range(2)}
    cluster = ClusterSpec(models=models, devices=dict(devices), policy="late-eft")
    rows = [{"text": _text(who)} for who in ("one", "two")]
    return assemble(load_workflow(path), rows, cluster)


async def fake_engines(job: Job, answered: Any = digest_answer) -> dict[str, FakeEngine]:  # noqa: ANN401
    """Open a job's fake engines."""
    engines = {
        setup.device.id: FakeEngine(setup.device, setup.models, answer=answered)
        for setup in job.resolved.devices
    }
    for engine in engines.values():
        await engine.open()
    return engines


async def run_until(job: Job, path: Path, kill: Kill) -> Finished:
    """Run a job; at the moment of the kill its files are copied to the folder `killed`.

    Raises:
        KilledError: that moment came.
    """
    records = answers = 0

    def die() -> None:
        target = path.parent / "killed"
        target.mkdir()
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, target / file.name)
        raise KilledError

    def on_record(_record: Record) -> None:
        nonlocal records
        records += 1
        if records - 1 == kill.record:
            die()

    def answer(request: CallRequest) -> str:
        nonlocal answers
        answers += 1
        if answers - 1 == kill.answer:
            die()
        return digest_answer(request)

    engines = await fake_engines(job, answer)
    profile = guess_profile(job.resolved.cluster)
    return await run_job(
        job, engines, Choice(), profile=profile, journal_path=path, on_record=on_record
    )


def finished_items(records: Sequence[Record]) -> Counter[Item]:
    """Return how often each item was finished, by a call, a tool or its twin."""
    done: Counter[Item] = Counter()
    chunks = {
        command.activity: command.chunk
        for record in records
        for command in record.commands
        if isinstance(command, Call | RunTool)
    }
    for record in records:
        for event in record.events:
            if isinstance(event, ItemDone):
                done[chunks[event.activity].instance, event.item] += 1
        for command in record.commands:
            if isinstance(command, Reuse):
                done[command.instance, command.item] += 1
    return done


# --- processes -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A workflow and its cluster in a folder, run and resumed by real processes."""

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """Everything the processes keep goes into the folder, compiled modules too."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        places = {"FATE_HOME": "home", "PYTHONPYCACHEPREFIX": "compiled"}
        return kept | {name: str(self.folder / place) for name, place in places.items()}

    def prepare(self) -> None:
        """Write two tiny random models, to be loaded by device processes, and a workflow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for seed, name in enumerate("ab"):
            spec = SyntheticSpec(layers=2, heads=2, kv_heads=1, feed_forward=256, seed=seed)
            synthetic(self.folder / f"{name}.gguf", spec)
        more = "max_tokens: 24, exact_tokens: true, chat: false"
        shorter = WORKFLOW.replace("output | join }}", "output | join | truncate(200) }}")
        cores = sorted(os.sched_getaffinity(0))
        cluster = {
            "format": "fate.cluster/1",
            "models": {n: {"source": f"path:{n}.gguf", "context": 1024} for n in "ab"},
            "devices": {
                f"d{d}": {"memory": "64MiB", "cores": [cores[d % len(cores)]]} for d in range(2)
            },
            "policy": "late-eft",
        }
        self._write(shorter.replace("MORE", more), cluster, _text("one"))

    def prepare_long(self, items: int) -> None:
        """Write a map over so many items, for devices that are fakes.

        Processes find the kernel compiled if this machine has it: that is done once, not by runs.
        """
        home, kernel = self.folder / "home", kernel_cache()
        for folder in (home, kernel):
            folder.mkdir(parents=True, exist_ok=True)
        (home / "kernel").symlink_to(kernel.resolve())
        source = f"https://example.org/none.gguf#sha256={'0' * 64}"
        cluster = {
            "format": "fate.cluster/1",
            "models": {"a": {"source": source, "weight_bytes": 30 * 2**20}},
            "devices": {f"d{d}": {"engine": "fake", "memory": 2**31} for d in range(2)},
            "options": {"chunk_s": 0},
        }
        self._write(LONG_WORKFLOW, cluster, _text("one", items))

    def _write(self, workflow: str, cluster: Mapping[str, Any], text: str) -> None:
        for name, content in (
            ("workflow.yaml", workflow),
            ("cluster.yaml", json.dumps(cluster)),
            ("text.txt", text),
        ):
            (self.folder / name).write_text(content, encoding="utf-8")

    def run(self, kill_at: int | None = None) -> tuple[int, Path]:
        """Run `fate run`; with `kill_at`, kill it once so many items are stored.

        Returns:
            Its exit code, and its run file.
        """
        known = set(self._runs())
        words = ["run", "workflow.yaml", "-i", "text=@text.txt", "--cluster", "cluster.yaml"]
        process = self._start(*words)
        while process.poll() is None:
            new = [run for run in self._runs() if run not in known]
            if kill_at is not None and new and _stored(new[0]) >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.005)
        found = [run for run in self._runs() if run not in known]
        if not found:
            raise FateError("bench: `fate run` left no run file")
        return process.returncode, found[0]

    def resume(self, run: Path) -> int:
        """Run `fate resume`; return its exit code."""
        return self._start("resume", run.parent.name).wait()

    def back_at_work(self, run: Path) -> tuple[float, float]:
        """Resume a run; return the wall and CPU seconds until another item is stored.

        The process is killed then.
        """
        with Journal.open(run) as journal:  # once: whoever closes a file last holds up others
            before, began_s = journal.outputs.count(), time.perf_counter()
            process = self._start("resume", run.parent.name)
            while process.poll() is None and journal.outputs.count() <= before:
                time.sleep(0.005)
        wall_s, cpu_s = time.perf_counter() - began_s, _cpu_s(process.pid)
        process.kill()
        process.wait()
        return wall_s, cpu_s

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        code = "import sys; from fate.cli.main import main; sys.argv[0] = 'fate'; main()"
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code, *words, "--plain"],
                cwd=self.folder,
                env=dict(self.environment),
                stdout=log,
                stderr=log,
            )

    def _runs(self) -> list[Path]:
        return sorted((self.folder / "home" / "runs").glob("*/run.sqlite"))


def outputs(run: Path, items: Iterable[Item]) -> dict[Item, str]:
    """Return the stored texts of items; a twin's is copied after the record that says so."""
    with Journal.open(run) as journal:
        names = dict.fromkeys(name for name, _ in items)
        return {(n, item): text for n in names for item, text in journal.outputs.items(n)}


def _stored(run: Path) -> int:
    with Journal.open(run) as journal:
        return journal.outputs.count()


def _cpu_s(process: int) -> float:
    """Return the CPU time of a process [s], after proc(5); one that has ended has none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except OSError:
        return 0.0
    return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


# --- a long run ------------------------------------------------------------------------------


def long_run(path: Path, items: int) -> Graph:
    """Run no-op work of so many items to its end, with its journal at `path`."""
    width = 50
    graph = layered(layers=max(items // width, 1), width=width)
    asyncio.run(run_at(graph, "late-eft", path))
    return graph


def _text(who: str, lines: int = _LINES) -> str:
    return "\n".join(f"{who} {number}" for number in range(lines))
