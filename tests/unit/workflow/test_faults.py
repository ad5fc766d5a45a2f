"""Fault plan files: what they mean, and what is said of those that mean nothing."""

from pathlib import Path

import pytest

from fate.domain.faults import Fault
from fate.workflow.faults import load_faults
from fate.workflow.problems import FileError

GOOD = """\
format: fate.faults/1
faults:
  - {kind: kill, device: d0, at: 3s}
  - {kind: stop, device: d1, when: {activity: call, count: 2}, for: 500ms}
  - {kind: slow, device: d0, at: 1, factor: 4.0}
  - {kind: disk_full, at: 2m, for: 1s}
  - {kind: disk_full, device: d1, when: {activity: call, count: 3}, for: 1s}
"""


def write(folder: Path, text: str) -> Path:
    """Write a plan."""
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_means_faults(tmp_path: Path) -> None:
    """Times in seconds, in the order of the file."""
    assert load_faults(write(tmp_path, GOOD), ("d0", "d1")) == (
        Fault(kind="kill", device="d0", at_s=3.0),
        Fault(kind="stop", device="d1", activity="call", count=2, for_s=0.5),
        Fault(kind="slow", device="d0", at_s=1.0, factor=4.0),
        Fault(kind="disk_full", at_s=120.0, for_s=1.0),
        Fault(kind="disk_full", device="d1", activity="call", count=3, for_s=1.0),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{kind: kill, device: d7, at: 3s}", "no device 'd7'"),
        ("{kind: kill, device: d0}", "give its moment"),
        ("{kind: kill, device: d0, at: 3s, when: {activity: call}}", "give its moment"),
        ("{kind: disk_full, device: d0, at: 3s}", "the disk is the host's"),
        ("{kind: disk_full, when: {activity: call}}", "no device ''"),
        ("{kind: corrupt, device: d0, when: {activity: load}}", "say `activity: call`"),
        ("{kind: refuse_load, device: d0, when: {activity: call}}", "say `activity: load`"),
        ("{kind: kill, device: d0, at: 3s, factor: 2.0}", "`factor` belongs to `slow`"),
        ("{kind: kill, device: d0, at: soon}", "not a time: 'soon'"),
        ("{kind: melt, device: d0, at: 3s}", "kind"),
        ("{kind: slow, device: d0, at: 3s, factor: 1.0}", "factor"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    """One line for each problem."""
    path = write(tmp_path, f"format: fate.faults/1\nfaults:\n  - {line}\n")
    with pytest.raises(FileError) as raised:
        load_faults(path, ("d0", "d1"))
    message = str(raised.value)
    assert said in message
    assert f"{path}:3" in message
