"""A join does not see what it did not wait for, however late its prompt is rendered again."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tests.stopped_runs import MIB, killed_copies

from fate.config import ClusterSpec, LocalDevice, ModelSpec
from fate.domain.errors import ReplayError
from fate.domain.messages import Event, Expanded
from fate.engines.base import CallRequest, Engine, LoadResult
from fate.engines.fake import FakeEngine
from fate.jobs import Job, assemble
from fate.resume import go_on, stopped, where_it_stands
from fate.session import Finished, Process
from fate.workflow.builder import Workflow


def job(template: str) -> Job:
    """A join of a quick stage and a slow one, which is an output too and hence goes on."""
    wf = Workflow("w", roles={"fast": "a", "strong": "b"})
    quick = wf.llm("quick", model="fast", prompt="Be quick", max_tokens=5)
    half = wf.llm("half", model="fast", prompt="Be slow", max_tokens=5)
    slow = wf.llm("slow", model="fast", prompt=f"Slower than {half}", max_tokens=5)
    end = wf.llm("end", model="strong", prompt=template, join="any", max_tokens=7)
    wf.output("all", f"{quick} {slow} {end}")
    local = {
        name: ModelSpec(source=f"https://x/{name}#sha256={'0' * 64}", weight_bytes=30 * MIB)
        for name in "ab"
    }
    devices = {f"d{n}": LocalDevice(engine="fake", memory=200 * MIB) for n in range(2)}
    return assemble(
        wf.to_spec(), [{}], ClusterSpec(models=local, devices=dict(devices), policy="late-eft")
    )


class Late(FakeEngine):
    """Loads the join's model when the slow stage has answered."""

    answered: asyncio.Event

    async def load(self, model: str) -> LoadResult:
        """Load, the second model late."""
        if model == "b":
            await self.answered.wait()
        return await super().load(model)


def engines(of: Job, prompts: list[str]) -> Mapping[str, Engine]:
    """Devices that note the prompts of the join."""
    answered = asyncio.Event()

    def answer(request: CallRequest) -> str:
        text = "".join(part.text for part in request.parts)
        if text.startswith("Slower"):
            answered.set()
        if request.model == "b":
            prompts.append(text)
        return f"answer to {text}"

    made: dict[str, Engine] = {}
    for setup in of.resolved.devices:
        engine = Late(setup.device, setup.models, answer=answer)
        engine.answered = answered
        made[setup.device.id] = engine
    return made


async def _go_on(path: Path, prompts: list[str], *, afresh: bool = False) -> Finished:
    with stopped(path) as run:
        opened = engines(run.job, prompts)
        for engine in opened.values():
            await engine.open()
        left = where_it_stands(run, afresh=afresh)
        return await go_on(run, left, Process(engines=opened))


def made_old(path: Path) -> int:
    """Take from a run what versions before `Expand.open` did not write; return how often."""
    taken = 0
    with closing(sqlite3.connect(path)) as file:
        for number, body in file.execute("SELECT number, body FROM record").fetchall():
            record = json.loads(body)
            commands = record.get("commands", [])
            expands = [c for c in commands if c["type"] == "Expand" and c.pop("open", ())]
            if expands:
                taken += len(expands)
                row = json.dumps(record).encode(), number
                file.execute("UPDATE record SET body = ? WHERE number = ?", row)
        file.commit()
    return taken


def recorded(path: Path) -> list[Event]:
    """Return all events of a run."""
    with stopped(path) as run:
        return [event for record in run.records for event in record.events]


@pytest.mark.parametrize(
    "template",
    [
        "Of {{ stages.quick.output }} and {{ stages.slow.output }}",
        "Of {{ stages.quick.output }} and {{ (stages.slow.output or 'none') | upper }}",
    ],
)
def test_a_prompt_is_the_same_after_a_crash_anywhere(tmp_path: Path, template: str) -> None:
    """As pieces and as computed text; the loser has an output by the time of the call."""
    of, prompts = job(template), list[str]()
    whole, copies = killed_copies(tmp_path, of, engines=engines(of, prompts))
    assert whole.status == "ok" and len(prompts) == 1 and "Slower" not in prompts[0]
    late = 0
    for path in copies:
        again, before = list[str](), recorded(path)
        asyncio.run(_go_on(path, again))
        if any(isinstance(e, Expanded) and e.instance == "w/end" for e in before):
            late += len(again)
            assert set(again) <= set(prompts)
    assert late >= 3, "the run is killed between the join's answer and its call"


def test_a_run_of_a_version_before_goes_on_afresh(tmp_path: Path) -> None:
    """With a join in flight its records do not replay: the error says how to go on, and it does."""
    of = job("Of {{ stages.quick.output }} and {{ stages.slow.output }}")
    whole, copies = killed_copies(tmp_path, of, engines=engines(of, []))
    old = [path for path in copies if made_old(path)]
    assert len(old) >= 3, "the run is killed after the join was asked for"
    for path in old:
        with stopped(path) as run:
            if run.over:
                continue
            kept = run.journal.outputs.count()
            with pytest.raises(ReplayError, match="--afresh"):
                where_it_stands(run)
        calls = list[str]()
        done = asyncio.run(_go_on(path, calls, afresh=True))
        assert done.status == "ok" and len(calls) <= 1
        with stopped(path) as run:
            assert run.over and run.well and run.journal.outputs.count() >= kept
        assert done.results[0].keys() == whole.results[0].keys()
