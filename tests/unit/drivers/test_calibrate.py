"""Calibration finds the costs a device has."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.graphs import cluster

from fate.cost.profile import CallCosts
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.catalog import Cluster
from fate.drivers.calibrate import calibrate
from fate.engines.base import CallRequest
from fate.engines.fake import FakeEngine, FakeWork, digest_answer

TRUE = {
    ("d0", "A"): CallCosts(
        load_s=0.4, unload_s=0.05, prefill=(0.01, 4e-4, 1e-7), decode=(0.0, 2e-3, 1e-6)
    ),
    ("d1", "A"): CallCosts(
        load_s=0.8, unload_s=0.10, prefill=(0.00, 8e-4, 0.0), decode=(0.0, 4e-3, 0.0)
    ),
}


class Still:
    """A clock on which everything takes no time."""

    async def sleep(self, seconds: float) -> None:
        """Go on."""
        await asyncio.sleep(0)


def seconds(work: FakeWork) -> float:
    """Return what a piece of work truly takes."""
    costs, tokens, held = TRUE[work.device, work.model], work.tokens, work.cached_tokens
    match work.kind:
        case "load":
            return costs.load_s
        case "unload":
            return costs.unload_s
        case "prefill":
            return prefill_seconds(float(tokens), float(held), *costs.prefill)
        case "decode":
            return decode_seconds(float(tokens), float(held), *costs.decode)
        case "save" | "restore":
            return 0.0


def test_coefficients_are_found() -> None:
    """Exactly, where the device has exactly such costs; and the devices are left empty."""
    base = cluster()
    on = Cluster(devices=base.devices, models=base.models[:1])

    async def main() -> None:
        engines = {
            d.id: FakeEngine(d, on.models, clock=Still(), seconds=seconds) for d in on.devices
        }
        told: list[str] = []
        for engine in engines.values():
            await engine.open()
        profile = await calibrate(on, engines, source="calibrated", on_progress=told.append)
        assert profile.source == "calibrated"
        assert sorted(told) == ["d0: A", "d1: A"]
        for (device, model), true in TRUE.items():
            found = profile.costs[device][model]
            assert (found.load_s, found.unload_s) == (true.load_s, true.unload_s)
            assert found.prefill == pytest.approx(true.prefill, rel=1e-6, abs=1e-9)
            assert found.decode == pytest.approx(true.decode, rel=1e-6, abs=1e-9)
        for engine in engines.values():
            await engine.load("A")

    asyncio.run(main())


def test_only_what_a_device_can_run_is_measured() -> None:
    """Models over its memory, or not among those it names, are left out."""
    base = cluster(devices=2, memory_mib=40)
    devices = (base.devices[0], replace(base.devices[1], models=("B",)))
    on = Cluster(devices=devices, models=base.models)

    async def main() -> None:
        engines = {d.id: FakeEngine(d, on.models, clock=Still()) for d in on.devices}
        for engine in engines.values():
            await engine.open()
        profile = await calibrate(on, engines, source="x")
        assert {d: set(costs) for d, costs in profile.costs.items()} == {"d0": {"A"}, "d1": set()}

    asyncio.run(main())


def test_probes_share_nothing_but_what_they_are_meant_to() -> None:
    """Were one prompt the start of another, its tokens would be cached and the fit wrong."""
    on = Cluster(devices=cluster(devices=1).devices, models=cluster().models[:1])
    prompts: list[str] = []

    def answer(request: CallRequest) -> str:
        prompts.append(request.parts[0].text)
        return digest_answer(request)

    async def main() -> None:
        engine = FakeEngine(on.devices[0], on.models, clock=Still(), seconds=seconds, answer=answer)
        await engine.open()
        await calibrate(on, {"d0": engine}, source="x")

    asyncio.run(main())
    assert len(prompts) == 10
    assert len({prompt[:8] for prompt in prompts}) == 8, "each cached prefix is used twice"
