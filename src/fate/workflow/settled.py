"""Which instances are over, told from stored outputs alone: another process may have run them."""

from typing import Any, Literal, Protocol, TypeAlias

from fate.domain.graph import InstanceId
from fate.workflow.places import Frame, Place, Places
from fate.workflow.texts import ExpandError

#: The "item" of an instance that was given up as a whole, before it had items.
WHOLE = -1

State: TypeAlias = Literal["open", "done", "skipped"]


class Reading(Protocol):
    """What is read of a workflow's outputs; `Values` is one."""

    @property
    def places(self) -> Places:
        """The workflow's instances."""
        ...

    @property
    def dropped(self) -> set[tuple[InstanceId, int]]:
        """Items and scopes that were given up."""
        ...

    def stored(self, instance: InstanceId) -> list[tuple[int, str]]:
        """Return (item, text) of an instance's stored items."""
        ...

    def elements(self, place: Place) -> list[Any]:
        """Return the elements of a map's list."""
        ...

    def holds(self, place: Place) -> bool:
        """Return whether an instance's condition holds."""
        ...

    def ends(self, frame: Frame) -> bool:
        """Return whether a round that is over is the last one of its loop."""
        ...


class Settled:
    """Answers for one moment: what it found is remembered, hence make another one later."""

    def __init__(self, values: Reading) -> None:
        self._values = values
        self._states: dict[InstanceId, State] = {}

    def is_over(self, place: Place) -> bool:
        """Whether nothing more can come of an instance, as far as outputs tell.

        An item that was dropped without a default looks like one that is still missing, unless
        somebody has told (`Values.dropped`).
        """
        return self.state(place) != "open"

    def state(self, place: Place) -> State:
        """Return how far an instance is."""
        key = place.instance if not place.stage.body else f"{place.instance}()"
        if key not in self._states:
            try:
                self._states[key] = self._state(place)
            except ExpandError:
                self._states[key] = "open"  # its workflow failed, or it is about to be dropped
        return self._states[key]

    def frames(self, group: Place) -> list[Frame]:
        """Return a map group's items, or the rounds of a loop that have left something."""
        if not group.stage.loop:
            return [Frame(group, index) for index in range(len(self._values.elements(group)))]
        repeat = group.stage.spec.repeat
        assert repeat is not None
        rounds = (Frame(group, index) for index in range(repeat.max, 0, -1))
        last = next((f.index for f in rounds if self.given_up(f) or self._began(f)), None) or 0
        return [Frame(group, index + 1) for index in range(last)]

    def rounds(self, loop: Place) -> int:
        """Return how many rounds are over; those in which there is nothing to do count at once.

        Such a round leaves nothing that could tell whether it has been.
        """
        repeat = loop.stage.spec.repeat
        assert repeat is not None
        rounds = len(self.frames(loop))
        while rounds < repeat.max and self._frame_is_over(Frame(loop, rounds + 1)):
            if rounds and self._values.ends(Frame(loop, rounds)):
                break
            rounds += 1
        return rounds

    def given_up(self, frame: Frame) -> bool:
        """Whether an item or round of a group was dropped: it left a default, or one was told."""
        group, index = frame.group.instance, frame.index
        return (group, index) in self._values.dropped or any(
            item == index for item, _ in self._values.stored(group)
        )

    def _state(self, place: Place) -> State:
        stage, values = place.stage, self._values
        if (known := self._told(place)) is not None:
            return known
        parents = [self.state(values.places.find(n, place.frame)) for n in stage.parents]
        if "open" in parents and not stage.required:
            return "open"
        if (parents and set(parents) == {"skipped"}) or not values.holds(place):
            return "skipped"
        if stage.body:
            return self._group_state(place)
        return "open" if stage.over is None else self._map_state(place)

    def _told(self, place: Place) -> State | None:
        """Return what outputs say of an instance without looking at its parents."""
        if place.frame is not None and self.given_up(place.frame):
            return "skipped"
        if (place.instance, -1) in self._values.dropped:
            return "skipped"  # as a whole: its list could not be told
        if place.stage.body or place.stage.over is not None:
            return None
        if self._values.stored(place.instance):
            return "done"
        return "skipped" if (place.instance, 0) in self._values.dropped else None

    def _map_state(self, place: Place) -> State:
        values = self._values
        kept = {item for item, _ in values.stored(place.instance)}
        gone = {item for instance, item in values.dropped if instance == place.instance}
        if len(kept | gone) < len(values.elements(place)):
            return "open"
        return "done" if kept or not gone else "skipped"

    def _group_state(self, group: Place) -> State:
        if group.stage.loop:
            rounds = self.rounds(group)
            last = Frame(group, rounds)
            over = rounds > 0 and self._frame_is_over(last) and self._values.ends(last)
        else:
            over = all(self._frame_is_over(frame) for frame in self.frames(group))
        return "done" if over else "open"

    def _frame_is_over(self, frame: Frame) -> bool:
        return self.given_up(frame) or all(self.is_over(place) for place in frame.places())

    def _began(self, frame: Frame) -> bool:
        """Whether anything inside a frame has an output."""
        return any(self._left_something(place) for place in frame.places())

    def _left_something(self, place: Place) -> bool:
        if not place.stage.body:
            return bool(self._values.stored(place.instance))
        find = self._values.places.find
        if not all(self.is_over(find(name, place.frame)) for name in place.stage.parents):
            return False
        return any(self.given_up(f) or self._began(f) for f in self._frames_or_none(place))

    def _frames_or_none(self, group: Place) -> list[Frame]:
        try:
            return self.frames(group)
        except ExpandError:
            return []  # it was dropped: its list is none
