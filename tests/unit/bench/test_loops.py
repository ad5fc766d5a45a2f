"""Loops as people write them by hand, on fake engines."""

import asyncio

import pytest

from fate.bench.cells import LETTERS, chained
from fate.bench.loops import LOOPS, Tally, run_loop
from fate.domain.catalog import Device, Model
from fate.engines.fake import FakeEngine
from fate.workflow.expand import Expander
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs

ITEMS = 6
MODELS = {letter: Model(id=letter, weight_bytes=1) for letter in LETTERS}


def run(name: str) -> tuple[Tally, dict[str, FakeEngine], MemoryOutputs]:
    """Run a loop over six items on two devices that hold one model each."""

    async def go() -> tuple[Tally, dict[str, FakeEngine], MemoryOutputs]:
        engines = {
            name: FakeEngine(Device(id=name, engine="fake", memory_bytes=1), tuple(MODELS.values()))
            for name in ("d0", "d1")
        }
        for engine in engines.values():
            await engine.open()
        part, outputs = chained("chained", ITEMS), MemoryOutputs()
        roles = {role: MODELS[letter] for role, letter in part.roles.items()}
        work = Expander(
            part.program.spec, part.id, part.inputs, roles, TokenCounter(), outputs, part.program
        )
        return await run_loop(name, work, outputs, engines), engines, outputs

    return asyncio.run(go())


@pytest.mark.parametrize(("name", "most"), [("model-major", 8), ("item-major", 3 * ITEMS + 2)])
def test_every_call_runs_once(name: str, most: int) -> None:
    """All 24 calls, their outputs stored, devices empty afterwards; A B C A costs loads.

    By models: four loads on each device. By items: the last stage's model is that of the first, so
    three loads an item, and one more on each device.
    """
    tally, engines, outputs = run(name)
    assert tally.output_tokens == ITEMS * 4 * 24
    assert 4 <= tally.loads <= most
    for item in range(ITEMS):
        for stage in ("extract", "review", "rewrite", "grade"):
            assert outputs.items(f"chained/study[{item}].{stage}")
    for engine in engines.values():
        with pytest.raises(Exception, match="not loaded"):
            asyncio.run(engine.unload("A"))


def test_item_major_loads_for_nearly_every_call() -> None:
    """What the runtime is compared with: many loads against few."""
    assert run("item-major")[0].loads > 2 * run("model-major")[0].loads
    assert set(LOOPS) == {"model-major", "item-major"}
