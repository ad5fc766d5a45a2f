"""Where an instance stands: in which item or round of which groups, and what it sees from there.

Everything follows from ids: `brief/study[3].refine#2` is the second round of `refine` in the
fourth item of `study`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fate.domain.graph import InstanceId
from fate.workflow.program import Program, StageProgram

_STEP = re.compile(r"(\w+?)(?:\[(\d+)\]|#(\d+))?")


@dataclass(frozen=True, slots=True)
class Place:
    """A stage at its place: one instance."""

    stage: StageProgram
    instance: InstanceId
    frame: "Frame | None"


@dataclass(frozen=True, slots=True)
class Frame:
    """One item (from 0) or round (from 1) of a group; None stands for any of them."""

    group: Place
    index: int | None

    @property
    def id(self) -> str:
        """The part of ids that all stages of the frame share."""
        if self.index is None:
            return self.group.instance
        mark = f"#{self.index}" if self.group.stage.loop else f"[{self.index}]"
        return self.group.instance + mark

    def place(self, name: str) -> Place:
        """Return a stage of the group's body at its place."""
        stage, group = self.group.stage.body[name], self.group.stage
        alone = group.loop and name == group.name
        return Place(stage, self.id if alone else f"{self.id}.{name}", self)

    def places(self) -> list[Place]:
        """Return all stages of the group's body at their places."""
        return [self.place(name) for name in self.group.stage.body]


def outwards(frame: Frame | None) -> Iterator[Frame]:
    """Yield a frame and those around it, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.group.frame


class Places:
    """The instances of one workflow, found by name or id."""

    def __init__(self, program: Program, workflow: str) -> None:
        self.program, self.workflow = program, workflow

    def find(self, name: str, frame: Frame | None) -> Place:
        """Return the instance that a stage's name means inside a frame."""
        for each in outwards(frame):
            if name in each.group.stage.body:
                return each.place(name)
        return Place(self.program.stages[name], f"{self.workflow}/{name}", None)

    def locate(self, instance: InstanceId) -> Place:
        """Return the place of an instance of this workflow."""
        frame: Frame | None = None
        for step in instance.removeprefix(f"{self.workflow}/").split("."):
            match = _STEP.fullmatch(step)
            if match is None:
                raise KeyError(instance)
            name, item, round_ = match.groups()
            place = self.find(name, None) if frame is None else frame.place(name)
            if item is None and round_ is None:
                return place
            frame = Frame(place, int(item or round_))
        assert frame is not None
        return frame.place(frame.group.stage.name)

    def stages(self) -> list[Place]:
        """Return the stages outside of all groups."""
        return [self.find(name, None) for name in self.program.stages]
