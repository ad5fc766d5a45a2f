"""The catalogue against published figures, and what rigs make of it."""

import pytest

from fate.bench.workloads.hardware import (
    GPUS,
    MODELS,
    call_costs,
    llm,
    part,
    prefill_rate,
    slowdown,
    step_seconds,
)
from fate.bench.workloads.rigs import RIGS, Setting, rig
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.errors import FateError

#: GPU -> (prefill tokens/s of 2048 tokens, decode tokens/s of one call) of an 8B model. H100 and
#: H200 take the lower of two published prefill figures, scaled.
_8B = {
    "h100": (32_000, 135), "a100-80": (12_700, 85), "a100-40": (13_100, 71), "l40s": (10_500, 41),
    "rtx-pro-6000": (26_500, 89), "rtx4090": (10_100, 55), "a6000": (6_000, 43),
    "rtx3090": (4_000, 48), "a40": (6_600, 33), "a10": (3_200, 28), "l4": (2_900, 15),
}  # fmt: skip


@pytest.mark.parametrize("gpu", sorted(_8B))
def test_rates_are_the_published_ones(gpu: str) -> None:
    """Within 5 %: the constants are fitted to these."""
    device, model = part(gpu), llm("llama-8b")
    prefill, decode = _8B[gpu]
    assert prefill_rate(device, model, 2048) == pytest.approx(prefill, rel=0.05)
    assert 1.0 / step_seconds(device, model, 1, 1000.0) == pytest.approx(decode, rel=0.05)


def test_sixteen_calls_are_near_a_published_run() -> None:
    """An H100 answered 16 calls at 1384 tokens/s in all (vLLM 0.21); the model is within 10 %."""
    step_s = step_seconds(part("h100"), llm("llama-8b"), 16, 1000.0)
    assert 16 / step_s == pytest.approx(1384, rel=0.1)


@pytest.mark.parametrize("gpu", ["a100-80", "l4x2"])
def test_costs_are_the_formulas(gpu: str) -> None:
    """What policies are told is what the formulas say, at any length."""
    device, model = part(gpu), llm("llama-8b")
    costs = call_costs(device, model)
    for tokens in (100, 2048, 20_000):
        seconds = prefill_seconds(float(tokens), 0.0, *costs.prefill)
        assert seconds == pytest.approx(tokens / prefill_rate(device, model, tokens))
    one = decode_seconds(1.0, 999.5, *costs.decode)
    assert one == pytest.approx(step_seconds(device, model, 1, 1000.0))


def test_company_slows_a_call_down() -> None:
    """Never less than alone, and eight together get more done than one after the other."""
    factors = slowdown(part("a100-80"), [llm("llama-8b")], 1000.0, 300.0, 8)
    assert factors[0] == 1.0 and list(factors) == sorted(factors)
    assert 8 / factors[-1] > 4
    heavy = slowdown(part("a100-80"), [llm("llama-8b")], 6000.0, 80.0, 8)
    assert heavy[-1] > 1.5 * factors[-1], "prefills do not share"


def test_loading() -> None:
    """8B from host memory over PCIe 4 in about a second, from disk with a new engine in 15."""
    host, disk = (call_costs(part("a100-80"), llm("llama-8b"), how).load_s for how in LOADS)
    assert host == pytest.approx(0.5 + 16.1 / 25) and disk == pytest.approx(10 + 16.1 / 3)


LOADS = ("host", "disk")


@pytest.mark.parametrize("name", sorted(RIGS))
def test_named_rigs(name: str) -> None:
    """All work with the models of the suites; every pair of devices is linked both ways."""
    made = rig(name, ["llama-3b", "llama-8b", "qwen3-32b-awq"])
    count = len(made.cluster.devices)
    assert len(made.cluster.links) == count * (count - 1)
    for device in made.cluster.devices:
        assert set(made.profile.costs[device.id]) >= {"llama-3b", "llama-8b", "qwen3-32b-awq"}
        assert len(made.profile.slowdown[device.id]) == device.slots


def test_what_does_not_fit_has_no_costs() -> None:
    """A 24 GB card holds one 8B model, and no 14B one."""
    made = rig("mixed-4", ["llama-8b", "qwen3-14b"], Setting(slots=1))
    assert [sorted(made.profile.costs[d.id]) for d in made.cluster.devices][:2] == [
        ["llama-8b", "qwen3-14b"],
        ["llama-8b"],
    ]
    assert {device.slots for device in made.cluster.devices} == {1}
    footprints = [model.footprint_bytes for model in made.cluster.models]
    assert 2 * footprints[0] > made.cluster.devices[1].memory_bytes


@pytest.mark.parametrize(
    ("gpus", "model", "says"),
    [
        ("nowhere", "llama-8b", "unknown cluster 'nowhere'; known: desk"),
        (["l5"], "llama-8b", "unknown GPU 'l5'; known: h200"),
        (["l4x0"], "llama-8b", "unknown GPU 'l4x0'"),
        ("desk", "gpt", "unknown model 'gpt'; known: embed-0.3b"),
        ("desk", "qwen3-14b", "'qwen3-14b' fits on no device of rtx4090, rtx4090"),
    ],
)
def test_unknown_names(gpus: str | list[str], model: str, says: str) -> None:
    """One line that says what exists."""
    with pytest.raises(FateError, match=says):
        rig(gpus, [model])


def test_names_of_groups() -> None:
    """A number behind an `x` counts GPUs; some names have an `x` of their own."""
    assert part("rtx4090").count == 1 and part("a100-80x4").count == 4
    assert part("a100-80x2").memory_bytes == 2 * part("a100-80").memory_bytes
    assert all(part(name).gpu is gpu for name, gpu in GPUS.items())
    assert all(model.weight_gb > 0 for model in MODELS.values())
