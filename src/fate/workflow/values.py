"""What templates see at run time: inputs, items, rounds, and the outputs of finished stages."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, cast

from fate.domain.graph import InstanceId, item_key
from fate.workflow.places import Frame, Place, Places, outwards
from fate.workflow.program import Argument, Constant, Program
from fate.workflow.settled import Settled
from fate.workflow.spec import GroupStage, JoinTool, Json, LlmStage
from fate.workflow.template import (
    RENDER_ERRORS,
    Computed,
    InputPiece,
    ItemPiece,
    OutputPiece,
    Piece,
    PreviousPiece,
    References,
    Static,
    Value,
    as_text,
)
from fate.workflow.texts import ExpandError, Keyed, joined, plain
from fate.workflow.tools import decode, find_json

#: Most items of one map.
MAX_ITEMS = 100_000


class OutputReader(Protocol):
    """Where finished texts are found; `store.Outputs` is one."""

    def items(self, instance: str) -> list[tuple[int, str]]:
        """Return (item, text) of every finished item, in item order."""
        ...


class MemoryOutputs:
    """Outputs in memory: for tests, and for what is known before a run."""

    def __init__(self, behind: OutputReader | None = None) -> None:
        self._texts: dict[str, dict[int, str]] = {}
        self._behind = behind

    def put(self, instance: str, item: int, text: str) -> None:
        """Store an item's text."""
        self._texts.setdefault(instance, {})[item] = text

    def items(self, instance: str) -> list[tuple[int, str]]:
        """Return (item, text) of every stored item, in item order."""
        if instance not in self._texts and self._behind is not None:
            return self._behind.items(instance)
        return sorted(self._texts.get(instance, {}).items())


@dataclass(frozen=True, slots=True)
class Names:
    """From where a template is read.

    `variable` is the name of the map's own item, "" outside of maps. `partial`: with `join`, a
    stage may start before others are over; it does not see these, nor what is in `hidden`.
    """

    frame: Frame | None = None
    variable: str = ""
    item: Any = None
    partial: bool = False
    hidden: frozenset[InstanceId] = frozenset()


class Values:
    """Inputs and outputs of one workflow; outputs are read when a template mentions them.

    Only stages that are over may be asked for: their outputs do not change any more. A stage
    without a stored output was skipped or dropped, and has none.
    """

    def __init__(
        self, program: Program, workflow: str, inputs: Mapping[str, Any], outputs: OutputReader
    ) -> None:
        self.program, self.workflow, self.inputs = program, workflow, inputs
        self.places = Places(program, workflow)
        #: Items given up, of groups too; those with a default are stored as well.
        self.dropped: set[tuple[InstanceId, int]] = set()
        #: What instances and groups do not see: it was open when they began.
        self.hidden: dict[InstanceId, frozenset[InstanceId]] = {}
        self.outputs = outputs
        self._kept: dict[InstanceId, Json] = {}
        self._elements: dict[InstanceId, list[Any]] = {}

    # --- reading -------------------------------------------------------------------------------

    def stored(self, instance: InstanceId) -> list[tuple[int, str]]:
        """Return (item, text) of an instance's stored items."""
        return self.outputs.items(instance)

    def value(self, place: Place) -> Json:
        """Return a stage's output as a value, a map's as a list; None where it has none."""
        if place.instance not in self._kept:
            # kept, because each item of a map may ask for it
            self._kept[place.instance] = self._value(place)
        return self._kept[place.instance]

    def keyed(self, place: Place, separator: str) -> list[Keyed]:
        """Return a stage's output as prompts show it, the items of a map one after the other."""
        return joined(self._texts(place), separator)

    def frame_value(self, frame: Frame) -> Json:
        """Return the output of one item or round of a group."""
        group, index = frame.group, frame.index
        default = dict(self.stored(group.instance)).get(cast("int", index))
        if default is not None:
            return decode(default)
        if (group.instance, index) in self.dropped:
            return None
        return self.evaluate(group.stage.output, Names(frame), f"stages.{group.stage.path}.output")

    def elements(self, place: Place) -> list[Any]:
        """Return the elements of a map's list.

        Raises:
            ExpandError: it is no list, or has more elements than the map allows.
        """
        found = self._elements.get(place.instance)
        if found is None:
            stage, spec = place.stage, place.stage.spec.map
            assert stage.over is not None and spec is not None
            where = f"stages.{stage.path}.map.over"
            value = self.evaluate(stage.over, self.names(place), where)
            if not isinstance(value, list):
                what = f"needs a list, got {as_text(value)[:80]!r}"
                raise ExpandError(f"{self.where(where)}: {what}")
            found = cast("list[Any]", value)
            limit = MAX_ITEMS if spec.max_items is None else spec.max_items
            if len(found) > limit:
                if not spec.truncate:
                    what = f"{len(found)} items, at most {limit}; raise max_items"
                    raise ExpandError(f"{self.where(where)}: {what}, or set truncate: true")
                found = found[:limit]
            self._elements[place.instance] = found
        return found

    def where(self, place: str) -> str:
        """Return the beginning of a message about a place in the workflow."""
        return f"workflow {self.program.spec.name!r}, {place}"

    # --- rendering -----------------------------------------------------------------------------

    def names(self, place: Place, item: object = None) -> Names:
        """Return what the templates of an instance see; `item` is the element of its own map."""
        spec, frame = place.stage.spec, place.frame
        partial = place.stage.required or any(f.group.stage.required for f in outwards(frame))
        own = spec.map.item if spec.map and not isinstance(spec, GroupStage) else ""
        around = (place.instance, *[f.group.instance for f in outwards(frame)])
        hidden = frozenset[InstanceId]().union(*[self.hidden.get(i, ()) for i in around])
        return Names(frame, own, item, bool(partial), hidden)

    def sees(self, names: Names, place: Place) -> bool:
        """Return whether the output of a stage is shown."""
        if not names.partial:
            return True
        return place.instance not in names.hidden and self.settled().is_over(place)

    def context(self, names: Names, references: References) -> dict[str, Any]:
        """Return everything a template may name, as far as it does."""
        context: dict[str, Any] = {"inputs": self.inputs, "stages": _Stages(self, names)}
        for name in references.names:
            context[name] = self._named(name, names)
        return context

    def evaluate(self, argument: Argument, names: Names, where: str) -> Json:
        """Return the value of a tool argument, a map's list, a condition or an output."""
        if isinstance(argument, Constant):
            return argument.value
        try:
            if isinstance(argument, Value):
                return argument.evaluate(self.context(names, argument.references))
        except RENDER_ERRORS as error:
            raise ExpandError(f"{self.where(where)}: {error}") from error
        return "".join(text for _, text in self._rendered(argument.pieces, names, where))

    def _rendered(self, pieces: Iterable[Piece], names: Names, where: str) -> list[Keyed]:
        try:
            return [pair for piece in pieces for pair in self.render(piece, names)]
        except RENDER_ERRORS as error:
            raise ExpandError(f"{self.where(where)}: {error}") from error

    def render(self, piece: Piece, names: Names) -> list[Keyed]:
        """Return (segment key, text) of what a piece becomes."""
        match piece:
            case Static(text):
                return plain(text)
            case InputPiece(name):
                text = as_text(self.inputs[name])
            case ItemPiece(name):
                text = as_text(self._named(name, names))
            case OutputPiece(stage, separator):
                place = self.places.find(stage, names.frame)
                return self.keyed(place, separator) if self.sees(names, place) else []
            case PreviousPiece():
                before = _round_before(names.frame)
                return [] if before is None else self._frame_texts(before)
            case Computed(program, references):
                text = program.render(self.context(names, references))
        return plain(text)

    def _named(self, name: str, names: Names) -> Json:
        """Return an item, `round` or `previous`."""
        if name == names.variable:
            return names.item
        for frame in outwards(names.frame):
            spec, index = frame.group.stage.spec, cast("int", frame.index)
            if spec.map is not None and spec.map.item == name:
                return self.elements(frame.group)[index]
            if frame.group.stage.loop and name == "round":
                return index
            if frame.group.stage.loop and name == "previous":
                before = _round_before(frame)
                return None if before is None else self.frame_value(before)
        raise ExpandError(f"{self.where(name)}: nothing has this name here")

    # --- conditions ----------------------------------------------------------------------------

    def settled(self) -> Settled:
        """Return what is over by now."""
        return Settled(self)

    def holds(self, place: Place) -> bool:
        """Return whether an instance's condition holds; it does where there is none."""
        when = place.stage.when
        where = f"stages.{place.stage.path}.when"
        return when is None or bool(self.evaluate(when, self.names(place), where))

    def ends(self, frame: Frame) -> bool:
        """Return whether a round that is over is the last one of its loop."""
        group, index = frame.group, cast("int", frame.index)
        repeat, until = group.stage.spec.repeat, group.stage.until
        assert repeat is not None
        if index >= repeat.max or self.settled().given_up(frame):
            return True
        where = f"stages.{group.stage.path}.repeat.until"
        return until is not None and bool(self.evaluate(until, Names(frame), where))

    # --- outputs -------------------------------------------------------------------------------

    def _value(self, place: Place) -> Json:
        if place.stage.loop:
            rounds = (self.frame_value(frame) for frame in reversed(self._frames(place)))
            return next((value for value in rounds if value is not None), None)
        if place.stage.body:
            values = [self.frame_value(frame) for frame in self._frames(place)]
            found = [value for value in values if value is not None]
        else:
            found = [self._decoded(place, text) for _, text in self.stored(place.instance)]
        if place.stage.over is None:
            return found[0] if found else None
        # an empty list is an output, but none that a skipped map has
        return found if found or self.settled().state(place) != "skipped" else None

    def _texts(self, place: Place) -> list[list[Keyed]]:
        """Return what stands between separators: an item's text, or what a frame gives."""
        if place.stage.body:
            frames = self._frames(place)
            ordered = reversed(frames) if place.stage.loop else frames
            found = (texts for f in ordered if (texts := self._frame_texts(f)))
            return list(islice(found, 1 if place.stage.loop else None))
        return [
            [(item_key(place.instance, item), self._shown(place, text))]
            for item, text in self.stored(place.instance)
        ]

    def _frame_texts(self, frame: Frame) -> list[Keyed]:
        """Return the output of one item or round, with the keys its parts have."""
        output, instance = frame.group.stage.output, frame.group.instance
        index = cast("int", frame.index)
        stored = dict(self.stored(instance)).get(index)
        if stored is not None:
            return [(item_key(instance, index), as_text(decode(stored)))]
        if (instance, index) in self.dropped:
            return []
        if not isinstance(output, Value):
            where = f"stages.{frame.group.stage.path}.output"
            return self._rendered(output.pieces, Names(frame), where)
        if isinstance(output.bare, OutputPiece):
            return self.render(output.bare, Names(frame))
        value = self.frame_value(frame)
        return [] if value is None else plain(as_text(value))

    def _frames(self, group: Place) -> list[Frame]:
        """Return the frames of a group that is over; one that was skipped has none."""
        try:
            return self.settled().frames(group)
        except ExpandError:
            return []

    def _shown(self, place: Place, text: str) -> str:
        """Return a stored text as prompts show it."""
        if isinstance(place.stage.spec, LlmStage | JoinTool):
            return text
        value = decode(text)
        return value if isinstance(value, str) else text

    def _decoded(self, place: Place, text: str) -> Json:
        spec = place.stage.spec
        if isinstance(spec, JoinTool):
            return text
        if isinstance(spec, LlmStage):
            return text if spec.answer_schema is None else find_json(text)
        return decode(text)


def _round_before(frame: Frame | None) -> Frame | None:
    """Return the round before that of the innermost loop; None in the first."""
    for each in outwards(frame):
        if each.group.stage.loop:
            assert each.index is not None
            return Frame(each.group, each.index - 1) if each.index > 1 else None
    return None


class _Stages(Mapping[str, Mapping[str, Any]]):
    """`stages` in templates: reads an output only when it is mentioned."""

    def __init__(self, values: Values, names: Names) -> None:
        self._values, self._names = values, names

    def __contains__(self, name: object) -> bool:
        return True  # names were checked when the workflow was read

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        place = self._values.places.find(name, self._names.frame)
        seen = self._values.sees(self._names, place)
        return {"output": self._values.value(place) if seen else None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.program.stages)

    def __len__(self) -> int:
        return len(self._values.program.stages)
