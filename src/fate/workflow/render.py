"""Rendering: pieces of templates become prompt parts, each with the key of its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

from fate.domain.errors import FateError
from fate.domain.graph import Segment, item_key
from fate.engines.base import PromptPart, Role
from fate.workflow.program import Argument, Constant, StageProgram
from fate.workflow.spec import Json, LlmStage
from fate.workflow.template import (
    RENDER_ERRORS,
    Computed,
    InputPiece,
    ItemPiece,
    OutputPiece,
    Piece,
    Static,
    Value,
    as_text,
)
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import Values

#: Joined outputs that get a segment of their own; the rest becomes one, since a longer prompt
#: path costs more to compare than its prefix can save.
MAX_JOINED = 12
#: Tokens a chat template spends at each of its marks until an engine has counted them.
MARK_TOKENS = 4
_MARK = "chat:"

#: A piece of a prompt with its role; marks of the chat template are parts already.
RolePiece: TypeAlias = tuple[Role, Piece | PromptPart]
Parts: TypeAlias = tuple[PromptPart, ...]


class ExpandError(FateError):
    """A stage cannot be rendered with the values it got."""

    code = "expand"


@dataclass(frozen=True, slots=True)
class Expansion:
    """A rendered instance: prompts as head and tails, or one set of arguments per tool item."""

    head: Parts
    tails: tuple[Parts, ...]
    arguments: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """What `item` stands for in a template; its name is `variable`, "" outside of maps."""

    variable: str = ""
    item: Any = None

    def context(self, values: Values) -> dict[str, Any]:
        """Return everything a template may name."""
        own = {self.variable: self.item} if self.variable else {}
        return {"inputs": values.inputs, "stages": values.stages, **own}


def text_key(text: str) -> str:
    """Return the segment key of a text: equal for equal texts, in any workflow."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


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
    assert isinstance(stage.spec, LlmStage)
    system: list[RolePiece] = [("system", piece) for piece in stage.system]
    user: list[RolePiece] = [("user", piece) for piece in stage.prompt]
    if not stage.spec.chat:
        plain: list[RolePiece] = [("user", piece) for _, piece in system]
        return plain + user
    turn = _mark("turn", "user") if system else _mark("user", "user")
    if system:
        system.insert(0, _mark("system", "system"))
    return [*system, turn, *user, _mark("end", "user")]


def uses_item(piece: Piece | PromptPart) -> bool:
    """Whether a piece differs from item to item."""
    if isinstance(piece, Computed):
        return piece.references.uses_item
    return isinstance(piece, ItemPiece)


def evaluate(values: Values, argument: Argument, names: Names, where: str) -> Json:
    """Return the value of a tool argument, a map's list or an output."""
    if isinstance(argument, Constant):
        return argument.value
    try:
        if isinstance(argument, Value):
            return argument.evaluate(names.context(values))
        rendered = [pair for piece in argument.pieces for pair in _render(piece, values, names)]
    except RENDER_ERRORS as error:
        raise ExpandError(f"workflow {values.program.spec.name!r}, {where}: {error}") from error
    return "".join(text for _, text in rendered)


class Rendering:
    """Renders one stage with the values of one workflow."""

    def __init__(self, values: Values, stage: StageProgram) -> None:
        self._values, self._stage = values, stage
        self._variable = stage.spec.map.item if stage.spec.map else ""

    def prompts(self, items: Sequence[Any]) -> Expansion:
        """Return the prompts of an `llm` stage; what no item changes is rendered once."""
        pieces = chat_pieces(self._stage)
        if not self._variable:
            return Expansion(tuple([p for each in pieces for p in self.parts(each, None)]), ((),))
        first = next((i for i, (_, piece) in enumerate(pieces) if uses_item(piece)), len(pieces))
        head = tuple([part for each in pieces[:first] for part in self.parts(each, None)])
        behind = pieces[first:]
        fixed = {
            position: self.parts(each, None)
            for position, each in enumerate(behind)
            if not uses_item(each[1])
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
        sets = tuple([self._argument_set(Names(self._variable, item)) for item in items])
        return Expansion((), ((),) * len(sets), sets)

    def parts(self, each: RolePiece, item: object) -> Parts:
        """Return what one piece becomes; empty texts vanish."""
        role, piece = each
        if isinstance(piece, PromptPart):
            return (piece,)
        try:
            rendered = _render(piece, self._values, Names(self._variable, item))
        except RENDER_ERRORS as error:
            line = f" line {piece.line}" if isinstance(piece, Computed) and piece.line > 1 else ""
            place = f"stages.{self._stage.name}.{'system' if role == 'system' else 'prompt'}{line}"
            name = self._values.program.spec.name
            raise ExpandError(f"workflow {name!r}, {place}: {error}") from error
        return tuple([PromptPart(key=key, text=text, role=role) for key, text in rendered if text])

    def _argument_set(self, names: Names) -> dict[str, Any]:
        return {
            key: evaluate(self._values, argument, names, f"stages.{self._stage.name}.{key}")
            for key, argument in self._stage.arguments.items()
        }


def _render(piece: Piece, values: Values, names: Names) -> list[tuple[str, str]]:
    """Return (segment key, text) of what a piece becomes."""
    match piece:
        case Static(text):
            return [(text_key(text), text)]
        case InputPiece(name):
            text = as_text(values.inputs[name])
        case ItemPiece():
            text = as_text(names.item)
        case OutputPiece(stage, separator):
            return _outputs(values, stage, separator)
        case Computed(program):
            text = program.render(names.context(values))
    return [(text_key(text), text)]


def _outputs(values: Values, stage: str, separator: str) -> list[tuple[str, str]]:
    instance = f"{values.workflow}/{stage}"
    texts = values.texts(stage)
    joined: list[tuple[str, str]] = []
    for item, text in enumerate(texts[:MAX_JOINED]):
        if item and separator:
            joined.append((text_key(separator), separator))
        joined.append((item_key(instance, item), text))
    if len(texts) > MAX_JOINED:
        rest = "".join(separator + text for text in texts[MAX_JOINED:])
        joined.append((text_key(rest), rest))
    return joined


def _mark(name: str, role: Role) -> RolePiece:
    return role, PromptPart(key=_MARK + name, text="", role=role)
