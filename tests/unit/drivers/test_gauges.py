"""The gauges of a live view, as `fate bench view` and `fate run` read them."""

from typing import TYPE_CHECKING, cast

from tests.graphs import cluster, profile

from fate.drivers.gauges import read_gauges
from fate.drivers.outlook import Outlook
from fate.drivers.setup import Setup
from fate.policy.baselines.greedy import LateEft
from fate.view.screen import Gauges

if TYPE_CHECKING:
    from fate.drivers.run import Runtime


class Idle:
    """A runtime as far as gauges read it."""

    def __init__(self) -> None:
        of = cluster()
        self.core = Setup(cluster=of, profile=profile(of), policy=LateEft()).scheduler()
        self.now_s = 10.0
        self.usage = type("Usage", (), {"cpu_s": 0.4})()


def test_gauges_are_read_off_the_runtime_and_its_outlook() -> None:
    """Scheduling took .4 s of 10 s on two cores; the last prediction is the one that counts."""
    runtime = cast("Runtime", Idle())
    outlook = Outlook(LateEft(), cores=2, points=[(1.0, 18.0), (5.0, 20.0)])
    base = Gauges(title="demo", policy="fate", now_s=0.0, first_end_s=15.0)
    found = read_gauges(runtime, outlook, base, [7])
    assert (found.now_s, found.first_end_s, found.expected_end_s) == (10.0, 15.0, 20.0)
    assert found.cpu_share == 0.02
    assert found.expected_s == {}
    assert read_gauges(runtime, Outlook(LateEft()), base, []).expected_end_s == 15.0
