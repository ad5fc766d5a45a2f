"""The bench of faults: what counts as lost capacity, and the quick part of the suite."""

import json
from pathlib import Path

from fate.bench.faults import drawn, faults, lost_seconds
from fate.domain.faults import Fault
from fate.domain.messages import DeviceLost, DeviceReady, Record


def test_a_killed_or_hung_device_costs_the_time_until_it_is_back() -> None:
    """From the fault on, noticed or not; at most until the run ends."""
    records = [
        Record(at_s=5.0, events=(DeviceLost(device="d0", reason="hangs"),)),
        Record(at_s=6.5, events=(DeviceReady(device="d0"),)),
    ]
    stop = Fault(kind="stop", device="d0", at_s=2.0)
    assert lost_seconds(stop, records, 20.0) == 4.5
    assert lost_seconds(stop, records[:1], 20.0) == 18.0
    assert lost_seconds(stop, [], 20.0) == 0.0


def test_a_slowed_device_costs_the_share_it_does_not_do() -> None:
    """Nine tenths of five seconds, or of what is left of the run."""
    slow = Fault(kind="slow", device="d0", at_s=2.0, for_s=5.0, factor=10.0)
    assert lost_seconds(slow, [], 20.0) == 4.5
    assert lost_seconds(slow, [], 4.0) == 1.8


def test_faults_are_drawn_by_seed() -> None:
    """The same seed, the same fault; all kinds come up."""
    many = [drawn(["d0", "d1"], 10.0, seed) for seed in range(40)]
    assert many == [drawn(["d0", "d1"], 10.0, seed) for seed in range(40)]
    assert {fault.kind for fault in many} == {"kill", "stop", "slow"}
    assert all(0.0 <= (fault.at_s or 0.0) <= 7.5 for fault in many)


def test_the_virtual_part_finishes_everything_within_the_target(tmp_path: Path) -> None:
    """Two runs under a fault each."""
    lines: list[str] = []
    assert faults(tmp_path, lines.append, runs=2, virtual=True) == 0
    rows = {row["metric"]: row for row in json.loads((tmp_path / "summary.json").read_text())}
    assert rows["unfinished"]["mean"] == 0
    assert rows["makespan_over_remaining"]["n"] == 2
