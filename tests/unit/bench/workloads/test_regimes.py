"""Regimes: round-robin's busy time is divided as they say."""

import numpy as np
import pytest
from tests.instances import document

from fate.bench.workloads.proxy import Scale, Workflow, map_proxy
from fate.bench.workloads.regimes import REGIMES, calibrate, measured_shares
from fate.bench.workloads.wfformat import parse_instance


def workflows() -> list[Workflow]:
    """Return two workflows of three layers, 14 stages each."""
    layers = {
        "a_1": (1.0, 10, list[str]()),
        **{f"b_{i}": (2.0 + i, 100 * i, ["a_1"]) for i in range(12)},
        "c_1": (3.0, 50, [f"b_{i}" for i in range(12)]),
    }
    draw, system = np.random.default_rng(0), dict[str, int]()
    instance = parse_instance(document(layers), "toy-1", "toy")
    return [map_proxy(instance, number, draw, system) for number in range(2)]


@pytest.mark.parametrize("regime", REGIMES)
def test_calibration_reaches_the_regime(regime: str) -> None:
    """Each share is within .05 of what is wanted, on an instance that starts far from it."""
    found = calibrate(workflows(), "mild", regime).shares
    wanted = REGIMES[regime]
    for name in REGIMES["balanced"].__struct_fields__:
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=0.05), name


def test_regimes_differ_from_where_they_start() -> None:
    """Unscaled, the instance is in none of them."""
    found = measured_shares(workflows(), "mild", Scale())
    assert all(abs(found.compute - wanted.compute) > 0.05 for wanted in REGIMES.values())
