"""A join does not see what it did not wait for, however late its prompt is rendered again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.stopped_runs import MIB, killed_copies

from fate.config import ClusterSpec, LocalDevice, ModelSpec
from fate.domain.messages import Event, Expanded
from fate.engines.base import CallRequest, Engine, LoadResult
from fate.engines.fake import FakeEngine
from fate.jobs import Job, assemble
from fate.resume import go_on, stopped, where_it_stands
from fate.session import Process
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


async def _go_on(path: Path, prompts: list[str]) -> None:
    with stopped(path) as run:
        opened = engines(run.job, prompts)
        for engine in opened.values():
            await engine.open()
        await go_on(run, where_it_stands(run), Process(engines=opened))


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
