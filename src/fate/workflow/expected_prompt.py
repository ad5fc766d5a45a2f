"""Prompts before they can be rendered: exact where texts are known, expected elsewhere."""

from fate.domain.catalog import Model
from fate.domain.graph import ITEM, Path, Segment, item_key, path_tokens
from fate.engines.base import PromptPart
from fate.workflow.expected import SAMPLED_ITEMS, Sizes
from fate.workflow.places import Frame, Place, outwards
from fate.workflow.render import Rendering, RolePiece, chat_pieces, segment, uses_item
from fate.workflow.template import (
    Computed,
    InputPiece,
    ItemPiece,
    OutputPiece,
    Piece,
    PreviousPiece,
    Static,
)
from fate.workflow.texts import MAX_JOINED, ExpandError, text_key


def expected_prompt(place: Place, model: Model, sizes: Sizes) -> Path:
    """Return the prompt of one item; what differs from item to item is at its mean length."""
    return _Prompt(place, model, sizes).path()


class _Prompt:
    def __init__(self, place: Place, model: Model, sizes: Sizes) -> None:
        self._place, self._model, self._sizes = place, model, sizes
        self._rendering = Rendering(sizes.values, place)
        spec = place.stage.spec.map
        self._own = spec.item if spec is not None else ""
        self._items = sizes.elements(place)

    def path(self) -> Path:
        path: list[Segment] = []
        for index, each in enumerate(chat_pieces(self._place.stage)):
            piece = each[1]
            varies = uses_item(piece, self._own)
            if not isinstance(piece, PromptPart) and not self._renders(piece, varies=varies):
                path.extend(self._expectation(piece, index))
                continue
            try:
                path.extend(self._any_item(each, index) if varies else self._segments(each, None))
            except ExpandError:
                continue  # running the stage will report it
        return tuple(path)

    def _segments(self, each: RolePiece, item: object) -> list[Segment]:
        """Return the segments of a piece whose text is known."""
        parts = self._rendering.parts(each, item)
        return [segment(part, self._model.tokenizer, self._sizes.counter) for part in parts]

    def _any_item(self, each: RolePiece, index: int) -> list[Segment]:
        """Return the segment that stands for a piece which every item renders otherwise."""
        items = self._items or []
        sample = items[:: -(-len(items) // SAMPLED_ITEMS)]
        tokens = sum(path_tokens(tuple(self._segments(each, item))) for item in sample)
        return [Segment(f"{ITEM}{self._place.instance}:{index}", round(tokens / len(sample)))]

    def _renders(self, piece: Piece, *, varies: bool) -> bool:
        """Whether a piece's text is known."""
        if varies and not self._items:
            return False
        sizes, frame = self._sizes, self._place.frame
        match piece:
            case Static():
                known = True
            case InputPiece(name):
                known = name in sizes.values.inputs
            case ItemPiece():
                known = varies or all(each.index is not None for each in _items_of(piece, frame))
            case PreviousPiece():
                known = all(each.index is not None for each in _loop_of(frame))
            case OutputPiece(stage):
                known = sizes.is_known(sizes.values.places.find(stage, frame))
            case Computed(references=references):
                known = sizes.knows(references, frame, self._own)
        return known

    def _expectation(self, piece: Piece, index: int) -> list[Segment]:
        """Return segments for a piece whose text is not known yet."""
        sizes, frame, instance = self._sizes, self._place.frame, self._place.instance
        match piece:
            case OutputPiece(stage, separator):
                return self._outputs(sizes.values.places.find(stage, frame), separator)
            case ItemPiece():
                group = next((each.group for each in _items_of(piece, frame)), self._place)
                return [self._segment(f"{ITEM}{group.instance}", sizes.item_bytes(group))]
            case PreviousPiece():
                (loop,) = _loop_of(frame)
                size = sizes.previous_bytes(loop.group)
                return [self._segment(f"expr:{loop.group.instance}:previous", size)]
            case Computed(references=references):
                size = sizes.size(references, frame, self._place)
                return [self._segment(f"expr:{instance}:{index}", size)]
            case _:
                return []

    def _outputs(self, parent: Place, separator: str) -> list[Segment]:
        """Return the segments of a parent's items, as rendering will join them.

        An answer counted in an earlier run of the same workflow is expected to be as long again:
        a text may be cut into other tokens than it was generated in.
        """
        counter, tokenizer = self._sizes.counter, self._model.tokenizer
        expected = self._sizes.expected(parent)
        each = counter.estimate(tokenizer, expected.item_bytes)
        path: list[Segment] = []
        for item in range(min(expected.items, MAX_JOINED)):
            if item and separator:
                key = text_key(separator)
                path.append(Segment(key, counter.count(tokenizer, key, separator)))
            key = item_key(parent.instance, item)
            known = counter.known(tokenizer, key)
            path.append(Segment(key, each if known is None else known))
        if expected.items > MAX_JOINED:
            rest = (expected.items - MAX_JOINED) * (expected.item_bytes + len(separator))
            path.append(self._segment(f"expr:{parent.instance}:rest", rest))
        return path

    def _segment(self, key: str, size: float) -> Segment:
        return Segment(key, self._sizes.counter.estimate(self._model.tokenizer, size))


def _items_of(piece: ItemPiece, frame: Frame | None) -> list[Frame]:
    """Return the frame of the group around, if any, whose item a piece is."""
    maps = ((each, each.group.stage.spec.map) for each in outwards(frame))
    return [each for each, spec in maps if spec is not None and spec.item == piece.name]


def _loop_of(frame: Frame | None) -> list[Frame]:
    """Return the frame of the innermost loop around, if any."""
    return [each for each in outwards(frame) if each.group.stage.loop][:1]
