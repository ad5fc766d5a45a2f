"""Rendering: pieces of templates become prompt parts, each with the key of its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from fate.domain.graph import Segment
from fate.engines.base import PromptPart, Role
from fate.workflow.places import Place
from fate.workflow.program import StageProgram
from fate.workflow.spec import EmbedStage, LlmStage, ModelStage
from fate.workflow.template import RENDER_ERRORS, Computed, ItemPiece, Piece
from fate.workflow.texts import ExpandError
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import Values

#: Tokens a chat template spends at each of its marks until an engine has counted them.
MARK_TOKENS = 4
_MARK = "chat:"

#: A piece of a prompt with its role; marks of the chat template are parts already.
RolePiece: TypeAlias = tuple[Role, Piece | PromptPart]
Parts: TypeAlias = tuple[PromptPart, ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """A rendered instance: prompts as head and tails, or one set of arguments per tool item."""

    head: Parts
    tails: tuple[Parts, ...]
    arguments: tuple[Mapping[str, Any], ...] = ()


def segment(part: PromptPart, tokenizer: str, counter: TokenCounter) -> Segment:
    """Return what the core sees of a prompt part."""
    tokens = counter.count(tokenizer, part.key, part.text)
    if not tokens and part.key.startswith(_MARK):
        tokens = MARK_TOKENS
    return Segment(part.key, tokens)


def chat_pieces(stage: StageProgram) -> list[RolePiece]:
    """Return a prompt's pieces with their roles, and marks where the chat template adds tokens.

    Equal texts in different turns, or an answer and what somebody wrote after the same prompt,
    are different token sequences; the marks keep their paths apart. A turn after a system text
    starts otherwise than a prompt without one, for which templates may insert their own.
    """
    assert isinstance(stage.spec, ModelStage)
    system: list[RolePiece] = [("system", piece) for piece in stage.system]
    user: list[RolePiece] = [("user", piece) for piece in stage.prompt]
    if not (isinstance(stage.spec, LlmStage) and stage.spec.chat):
        plain: list[RolePiece] = [("user", piece) for _, piece in system]
        return plain + user
    turn = _mark("turn", "user") if system else _mark("user", "user")
    if system:
        system.insert(0, _mark("system", "system"))
    return [*system, turn, *user, _mark("end", "user")]


def uses_item(piece: Piece | PromptPart, item: str) -> bool:
    """Whether a piece differs from item to item of a map whose items have this name."""
    if isinstance(piece, Computed):
        return item in piece.references.names
    return isinstance(piece, ItemPiece) and piece.name == item


class Rendering:
    """Renders one instance with the values of its workflow."""

    def __init__(self, values: Values, place: Place) -> None:
        self._values, self._place, self._stage = values, place, place.stage
        self._names = values.names(place)

    def prompts(self, items: Sequence[Any]) -> Expansion:
        """Return the prompts of a model's calls; what no item changes is rendered once."""
        pieces, own = chat_pieces(self._stage), self._names.variable
        if not own:
            return Expansion(tuple([p for each in pieces for p in self.parts(each, None)]), ((),))
        varies = (i for i, (_, piece) in enumerate(pieces) if uses_item(piece, own))
        first = next(varies, len(pieces))
        head = tuple([part for each in pieces[:first] for part in self.parts(each, None)])
        behind = pieces[first:]
        fixed = {
            position: self.parts(each, None)
            for position, each in enumerate(behind)
            if not uses_item(each[1], own)
        }
        tails: list[Parts] = []
        for item in items:
            tail: list[PromptPart] = []
            for position, each in enumerate(behind):
                tail += fixed[position] if position in fixed else self.parts(each, item)
            tails.append(tuple(tail))
        return Expansion(head, tuple(tails))

    def arguments(self, items: Sequence[Any]) -> Expansion:
        """Return the arguments of a tool, one set for each item."""
        sets = tuple([self._argument_set(item) for item in items])
        return Expansion((), ((),) * len(sets), sets)

    def parts(self, each: RolePiece, item: object) -> Parts:
        """Return what one piece becomes; empty texts vanish."""
        role, piece = each
        if isinstance(piece, PromptPart):
            return (piece,)
        try:
            rendered = self._values.render(piece, replace(self._names, item=item))
        except RENDER_ERRORS as error:
            line = f" line {piece.line}" if isinstance(piece, Computed) and piece.line > 1 else ""
            key = "text" if isinstance(self._stage.spec, EmbedStage) else "prompt"
            place = f"stages.{self._stage.path}.{'system' if role == 'system' else key}{line}"
            raise ExpandError(f"{self._values.where(place)}: {error}") from error
        return tuple([PromptPart(key=key, text=text, role=role) for key, text in rendered if text])

    def _argument_set(self, item: object) -> dict[str, Any]:
        names = replace(self._names, item=item)
        return {
            key: self._values.evaluate(argument, names, f"stages.{self._stage.path}.{key}")
            for key, argument in self._stage.arguments.items()
        }


def _mark(name: str, role: Role) -> RolePiece:
    return role, PromptPart(key=_MARK + name, text="", role=role)
