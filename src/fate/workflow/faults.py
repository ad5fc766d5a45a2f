"""The fault plan file, `format: fate.faults/1`: what goes wrong on purpose, and when."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from fate.domain.faults import Fault, FaultKind, Trigger
from fate.domain.units import parse_seconds
from fate.workflow.load import read_checked
from fate.workflow.problems import FileError, suggest
from fate.workflow.spec import Base

FORMAT = "fate.faults/1"


class FaultPlanError(FileError):
    """A fault plan file is wrong, or means devices that the cluster does not have."""

    code = "bad-faults"


Seconds: TypeAlias = Annotated[
    float,
    BeforeValidator(parse_seconds),
    WithJsonSchema({"type": ["string", "number"], "examples": ["3s"]}),
]


class WhenSpec(Base):
    """The moment when the `count`-th activity of a kind begins on the device."""

    activity: Trigger
    count: int = Field(default=1, ge=1)


class FaultSpec(Base):
    """One fault, at a time of the run's clock or on an activity.

    `for` is how long it lasts: a killed device cannot be restarted before (1 s), `refuse_load` and
    `corrupt` with `when` mean that one, everything else lasts to the end. `factor` is how much
    slower `slow` is. The disk of `disk_full` is the host's: only its `when` has a device.
    """

    kind: FaultKind
    device: str = ""
    at: Seconds | None = None
    when: WhenSpec | None = None
    for_: Seconds | None = Field(default=None, alias="for")
    factor: float = Field(default=10.0, gt=1.0)


class FaultPlanSpec(Base):
    """A fault plan: faults in any order."""

    format: Literal["fate.faults/1"] = FORMAT
    faults: tuple[FaultSpec, ...] = Field(default=(), strict=False)


def load_faults(path: str | Path, devices: tuple[str, ...]) -> tuple[Fault, ...]:
    """Read and check a fault plan for a cluster with these devices.

    Raises:
        FaultPlanError: every problem, one per line, with file and line.
    """
    spec, problems = read_checked(Path(path), FORMAT, "fault plan", FaultPlanSpec, FaultPlanError)
    for index, fault in enumerate(spec.faults):
        what = _wrong(fault, devices)
        if what:
            problems.add(("faults", index), what)
    if problems.lines:
        raise FaultPlanError(problems.lines)
    return tuple([_fault(each) for each in spec.faults])


#: What alone meets a fault that is meant for one activity.
_MEANT: dict[FaultKind, Trigger] = {"refuse_load": "load", "corrupt": "call"}


def _wrong(fault: FaultSpec, devices: tuple[str, ...]) -> str:
    """Return what is wrong with a fault that its fields alone do not show."""
    if (fault.at is None) == (fault.when is None):
        return f"{fault.kind}: give its moment: `at: 3s`, or `when: {{activity: call, count: 2}}`"
    if fault.kind == "disk_full" and fault.at is not None:
        return "disk_full: the disk is the host's; give no device with `at`" if fault.device else ""
    if fault.when is not None and fault.for_ is None:
        meant = _MEANT.get(fault.kind, fault.when.activity)
        if fault.when.activity != meant:
            return f"{fault.kind}: no {fault.when.activity} can meet it; say `activity: {meant}`"
    if fault.device not in devices:
        return f"{fault.kind}: no device {fault.device!r}.{suggest(fault.device, devices)}"
    if "factor" in fault.model_fields_set and fault.kind != "slow":
        return f"{fault.kind}: `factor` belongs to `slow`"
    return ""


def _fault(spec: FaultSpec) -> Fault:
    return Fault(
        kind=spec.kind,
        device=spec.device,
        at_s=spec.at,
        activity=spec.when.activity if spec.when is not None else None,
        count=spec.when.count if spec.when is not None else 1,
        for_s=spec.for_,
        factor=spec.factor,
    )
