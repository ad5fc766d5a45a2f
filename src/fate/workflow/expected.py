"""How much stages are expected to write, and which of their texts are known already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fate.domain.catalog import Model
from fate.workflow.expectations import Expectations
from fate.workflow.places import Frame, Place, outwards
from fate.workflow.program import Argument, Constant
from fate.workflow.spec import LlmStage
from fate.workflow.template import LOOP_NAMES, OutputPiece, References, Static, Template, as_text
from fate.workflow.texts import ExpandError
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import Values

if TYPE_CHECKING:
    from fate.domain.graph import InstanceId

#: Items that are rendered to learn how long they are, strided over all of them.
SAMPLED_ITEMS = 32
#: What a vector is as JSON, a thousand numbers more or less [B].
_VECTOR_BYTES = 16_384.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a stage is expected to write: number of items, and bytes of each."""

    items: int
    item_bytes: float

    @property
    def total_bytes(self) -> float:
        """Bytes of all items."""
        return self.items * self.item_bytes


class Sizes:
    """What is known and what is expected of the stages looked at so far, parents first.

    A stage that was not looked at is over: its output is read.
    """

    def __init__(
        self,
        values: Values,
        models: Mapping[str, Model],
        counter: TokenCounter,
        history: Expectations,
    ) -> None:
        self.values, self.models, self.counter = values, models, counter
        self._history = history
        self._expected: dict[InstanceId, Expected] = {}
        self._ahead: set[InstanceId] = set()

    def expect(self, place: Place, expected: Expected, *, known: bool = False) -> None:
        """Note what a stage will write; `known` where its outputs can be read already."""
        self._expected[place.instance] = expected
        if known:
            self._ahead.add(place.instance)

    def expected(self, place: Place) -> Expected:
        """Return what a stage that was looked at will write."""
        return self._expected[place.instance]

    def is_known(self, place: Place) -> bool:
        """Whether a stage's output can be read."""
        return place.instance not in self._expected or place.instance in self._ahead

    def knows(self, references: References, frame: Frame | None, own: str = "") -> bool:
        """Whether all that a template mentions is known, `own` aside: a map's item."""
        find = self.values.places.find
        return (
            all(name in self.values.inputs for name in references.inputs)
            and all(self.is_known(find(name, frame)) for name in references.stages)
            and all(name == own or _is_given(name, frame) for name in references.names)
        )

    def tokens(self, place: Place) -> float:
        """Return the expected output tokens of one item of a call."""
        spec = place.stage.spec
        if not isinstance(spec, LlmStage):
            return 0.0  # a vector
        tokens: float | None = spec.max_tokens if spec.exact_tokens else spec.expect_tokens
        if tokens is None:
            tokens = self._history.of(place.stage.path).tokens
        return float(spec.max_tokens if tokens is None else min(tokens, spec.max_tokens))

    def answer_bytes(self, place: Place) -> float:
        """Return the expected bytes of one item of a call."""
        spec = place.stage.spec
        if not isinstance(spec, LlmStage):
            return _VECTOR_BYTES
        tokenizer = self.models[spec.model].tokenizer
        return self.tokens(place) * self.counter.bytes_per_token(tokenizer)

    def items(self, place: Place) -> int:
        """Return the expected number of a map's items, 1 for what is no map."""
        stage, spec = place.stage, place.stage.spec.map
        if stage.over is None or spec is None:
            return 1
        known = self.elements(place)
        if known is not None:
            return len(known)
        items = spec.items
        if isinstance(bare := stage.over.bare, OutputPiece):
            source = self.values.places.find(bare.stage, place.frame)
            if source.stage.over is not None and source.instance in self._expected:
                return self.expected(source).items
        if "items" not in spec.model_fields_set:
            seen = self._history.of(stage.path).items
            items = spec.items if seen is None else round(seen)
        return items if spec.max_items is None else min(items, spec.max_items)

    def rounds(self, place: Place) -> float:
        """Return the expected number of a loop's rounds, 1 for what is no loop."""
        repeat = place.stage.spec.repeat
        if repeat is None:
            return 1.0
        if not repeat.until:
            return float(repeat.max)
        rounds = repeat.expect
        if rounds is None:
            rounds = self._history.of(place.stage.path).rounds
        return min((1 + repeat.max) / 2 if rounds is None else rounds, float(repeat.max))

    def elements(self, place: Place) -> list[Any] | None:
        """Return a map's list where it is known."""
        over = place.stage.over
        if over is None or not self.knows(over.references, place.frame):
            return None
        try:
            return self.values.elements(place)
        except ExpandError:
            return None  # running the stage will report it

    def item_bytes(self, place: Place) -> float:
        """Return the mean bytes of one element of a map's list, known or expected."""
        if place.stage.over is None:
            return 0.0
        known = self.elements(place)
        if known is None:
            size = self.size(place.stage.over.references, place.frame)
            return size / max(self.items(place), 1)
        sample = known[:: -(-len(known) // SAMPLED_ITEMS)] if known else []
        return sum(len(as_text(each).encode()) for each in sample) / max(len(sample), 1)

    def size(self, references: References, frame: Frame | None, own: Place | None = None) -> float:
        """Return the bytes of everything a template mentions; `own` is the map it belongs to."""
        find, given = self.values.places.find, self.values.inputs
        inputs = sum(len(str(given[n]).encode()) for n in references.inputs if n in given)
        outputs = sum(self.output_bytes(find(name, frame)) for name in references.stages)
        variable = own.stage.spec.map.item if own and own.stage.spec.map else ""
        return (
            inputs
            + outputs
            + sum(
                self.item_bytes(own) if own and name == variable else self._named_bytes(name, frame)
                for name in references.names
            )
        )

    def output_bytes(self, place: Place) -> float:
        """Return the bytes of a stage's output."""
        if place.instance in self._expected:
            return self._expected[place.instance].total_bytes
        try:
            return float(sum(len(text.encode()) for _, text in self.values.keyed(place, "")))
        except ExpandError:
            return 0.0

    def scope_bytes(self, frame: Frame) -> float:
        """Return the bytes of a group's output for one item or round of it."""
        output = frame.group.stage.output
        size = self.size(output.references, frame)
        if isinstance(output, Template):
            size += sum(len(p.text.encode()) for p in output.pieces if isinstance(p, Static))
        return size

    def previous_bytes(self, group: Place) -> float:
        """Return the expected bytes of `previous`, a mean over all rounds: the first has none."""
        if group.instance in self._expected:
            size = self._expected[group.instance].total_bytes
        else:
            body = [Frame(group, None).place(n) for n in group.stage.body if n in group.stage.keeps]
            calls = [p for p in body if isinstance(p.stage.spec, LlmStage) and not p.stage.body]
            size = sum(self.answer_bytes(place) for place in calls)
        rounds = max(self.rounds(group), 1.0)
        return size * (rounds - 1.0) / rounds

    def argument_bytes(self, place: Place, argument: Argument) -> float:
        """Return the bytes of a tool's argument."""
        if isinstance(argument, Constant):
            return 0.0
        return self.size(argument.references, place.frame, place)

    def _named_bytes(self, name: str, frame: Frame | None) -> float:
        for each in outwards(frame):
            spec = each.group.stage.spec
            if spec.map is not None and spec.map.item == name:
                return self.item_bytes(each.group)
            if each.group.stage.loop and name == "previous":
                return self.previous_bytes(each.group)
        return 1.0


def _is_given(name: str, frame: Frame | None) -> bool:
    """Whether an item, `round` or `previous` is that of a certain item or round."""
    for each in outwards(frame):
        spec = each.group.stage.spec
        offered = LOOP_NAMES if spec.map is None else {spec.map.item}
        if name in offered:
            return each.index is not None
    return False
