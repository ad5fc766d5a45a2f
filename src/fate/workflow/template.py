"""Templates that keep their structure: an ordered list of pieces instead of one text.

A prompt's pieces (static text, an input, a parent's output, the map's item, anything computed)
are known before anything runs, hence so are the prefixes that prompts share. Values are inserted,
never evaluated: a document that contains `{{ ... }}` stays text.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fate.workflow.problems import suggest
from fate.workflow.spec import Json

_EXPRESSION = re.compile(r"^\s*\{\{-?(.*?)-?\}\}\s*$", re.DOTALL)
_BORROWING = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
#: What a loop adds to the names templates may use.
LOOP_NAMES = frozenset({"round", "previous"})
#: What an expression over a user's values can raise; anything else is a bug of ours.
RENDER_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def as_text(value: object) -> str:
    """Return a value as a prompt shows it: text as it is, none as nothing, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which `a.b` on a mapping means its key, so that `inputs.items` works."""

    def getattr(self, obj: Json, attribute: str) -> Json:
        if isinstance(obj, Mapping) and attribute in obj:
            return cast("Mapping[str, Any]", obj)[attribute]
        return super().getattr(obj, attribute)


def _finalize(value: object) -> object:
    return value if isinstance(value, str | jinja2.Undefined) else as_text(value)


def _join(value: Json, separator: str = "") -> str:
    return separator.join(as_text(each) for each in value)


def _environment() -> _Environment:
    env = _Environment(
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals = {"range": env.globals["range"]}
    env.filters["join"] = _join
    env.filters["tojson"] = as_json  # jinja2's own escapes for HTML, which no model wants
    return env


def as_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON text."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class Static:
    """Text that stands in the file."""

    text: str


@dataclass(frozen=True, slots=True)
class InputPiece:
    """`{{ inputs.name }}`, bare."""

    name: str


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """`{{ stages.name.output }}`, bare or joined; a map's items stand one after the other."""

    stage: str
    separator: str = "\n\n"


@dataclass(frozen=True, slots=True)
class ItemPiece:
    """`{{ item }}`, bare, of the stage's own map or of a group around it."""

    name: str = "item"


@dataclass(frozen=True, slots=True)
class PreviousPiece:
    """`{{ previous }}`, bare: the output of the round before."""


@dataclass(frozen=True, slots=True)
class Computed:
    """Any other expression or block; `line` is where it starts in the template."""

    program: jinja2.Template
    references: "References"
    line: int


Piece: TypeAlias = Static | InputPiece | OutputPiece | ItemPiece | PreviousPiece | Computed


@dataclass(slots=True)
class References:
    """What a template mentions, with the first line of each mention.

    `names` are the other names: items, `round`, `previous`.
    """

    inputs: dict[str, int] = field(default_factory=dict[str, int])
    stages: dict[str, int] = field(default_factory=dict[str, int])
    names: dict[str, int] = field(default_factory=dict[str, int])

    def merge(self, other: "References") -> None:
        """Add another template's references."""
        self.inputs |= other.inputs | self.inputs
        self.stages |= other.stages | self.stages
        self.names |= other.names | self.names


@dataclass(frozen=True, slots=True)
class Visible:
    """The names a template may use beside `inputs` and `stages`.

    `items` are those of the maps around it, `in_loop` allows `round` and `previous`, `mapped`
    names the stages whose outputs are lists.
    """

    items: frozenset[str] = frozenset()
    in_loop: bool = False
    mapped: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The names themselves."""
        return self.items | LOOP_NAMES if self.in_loop else self.items


@dataclass(slots=True)
class Template:
    """A parsed template: its pieces, what it mentions, and what is wrong with it, by line."""

    pieces: tuple[Piece, ...] = ()
    references: References = field(default_factory=References)
    problems: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


@dataclass(frozen=True, slots=True)
class Value:
    """An expression evaluated to a value instead of text; `bare` is the piece it would be."""

    source: str
    references: References
    bare: Piece

    def evaluate(self, context: Mapping[str, Any]) -> Json:
        """Return the value; raises one of `RENDER_ERRORS`."""
        value = _compiled(self.source)(**context)
        if isinstance(value, jinja2.Undefined):
            str(value)  # a strict undefined value raises, naming what is missing
        return value


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Callable[..., Any]:
    """Compile an expression once: conditions are asked in every item and round."""
    return ENVIRONMENT.compile_expression(source, undefined_to_none=False)


def parse(source: str, visible: Visible) -> Template:
    """Parse a template into pieces, checking every name, filter and test it uses."""
    result = Template()
    try:
        tree = ENVIRONMENT.parse(source)
    except jinja2.TemplateSyntaxError as error:
        result.problems.append((error.lineno, f"template syntax: {error.message}"))
        return result
    result.problems.extend(_unknown_names(tree, visible))
    result.problems.extend(_misused(tree, visible, result.references))
    if not result.problems:
        result.pieces = tuple(_merged(_cut(tree, visible)))
    return result


def parse_value(source: str, visible: Visible) -> tuple[Value | None, Template]:
    """Parse a text that must be exactly one `{{ expression }}`; problems are in the template."""
    template = parse(source, visible)
    match = _EXPRESSION.match(source)
    pieces = [p for p in template.pieces if not (isinstance(p, Static) and not p.text.strip())]
    if template.problems:
        return None, template
    if match is None or len(pieces) != 1 or isinstance(pieces[0], Static):
        what = f"{source!r} must be exactly one expression, such as '{{{{ stages.parts.output }}}}'"
        template.problems.append((1, what))
        return None, template
    return Value(match.group(1).strip(), template.references, pieces[0]), template


def _unknown_names(tree: nodes.Template, visible: Visible) -> Iterator[tuple[int, str]]:
    unknown_filter = False
    for kind, known in ((nodes.Filter, ENVIRONMENT.filters), (nodes.Test, ENVIRONMENT.tests)):
        for node in tree.find_all(kind):
            if node.name not in known:
                unknown_filter = True
                word = "filter" if kind is nodes.Filter else "test"
                yield node.lineno, f"no {word} named {node.name!r}.{suggest(node.name, known)}"
    for node in tree.find_all(_BORROWING):
        unknown_filter = True
        word = type(node).__name__.lower()
        yield node.lineno, f"{word} is not available: templates stand alone"
    if unknown_filter:
        return  # the search for undeclared names compiles, which these would stop
    allowed = {"inputs", "stages", *visible.names}
    undeclared = meta.find_undeclared_variables(tree) - allowed - set(ENVIRONMENT.globals)
    for node in tree.find_all(nodes.Name):
        if node.name in undeclared and node.ctx == "load":
            yield node.lineno, _unknown_name(node.name, allowed)


def _unknown_name(name: str, allowed: set[str]) -> str:
    if name == "item":
        return "'item' exists only in a stage with `map:`"
    if name in LOOP_NAMES:
        return f"{name!r} exists only in a stage or group with `repeat:`"
    return f"{name!r} is not defined.{suggest(name, allowed)}"


def _misused(tree: nodes.Node, visible: Visible, found: References) -> Iterator[tuple[int, str]]:
    """Yield wrong uses of `inputs` and `stages`; collect the right ones in `found`."""
    if (stage := _stage_output(tree)) is not None:
        found.stages.setdefault(stage, tree.lineno)
        return
    if (name := _input_name(tree)) is not None:
        found.inputs.setdefault(name, tree.lineno)
        return
    if (stage := _member(tree, "stages")) is not None:
        yield tree.lineno, f"write `stages.{stage}.output`: a stage has nothing else"
        return
    if isinstance(tree, nodes.Name) and tree.ctx == "load":
        if tree.name in ("inputs", "stages"):
            yield tree.lineno, f"write `{tree.name}.NAME`: {tree.name!r} alone is not a value"
        if tree.name in visible.names:
            found.names.setdefault(tree.name, tree.lineno)
    for child in tree.iter_child_nodes():
        yield from _misused(child, visible, found)


def _member(node: nodes.Node, root: str) -> str | None:
    """Return X where `node` is `root.X` or `root['X']`."""
    if isinstance(node, nodes.Getattr):
        base, name = node.node, node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        base, name = node.node, node.arg.value
    else:
        return None
    matches = isinstance(base, nodes.Name) and base.name == root and isinstance(name, str)
    return name if matches else None


def _input_name(node: nodes.Node) -> str | None:
    return _member(node, "inputs")


def _stage_output(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Getattr) and node.attr == "output":
        return _member(node.node, "stages")
    return None


def _cut(tree: nodes.Template, visible: Visible) -> Iterator[Piece]:
    """Cut a template at its top level; `set` and macros are repeated before what follows them."""
    prelude: list[nodes.Node] = []
    for statement in tree.body:
        if isinstance(statement, nodes.Output):
            for child in statement.nodes:
                yield _piece(child, prelude, visible)
        elif isinstance(statement, nodes.Assign | nodes.AssignBlock | nodes.Macro):
            prelude.append(statement)
        else:
            yield _computed(statement, prelude, visible)


def _piece(node: nodes.Expr, prelude: list[nodes.Node], visible: Visible) -> Piece:
    if isinstance(node, nodes.TemplateData):
        return Static(node.data)
    # a `set` might have given these names another meaning
    if not prelude and (bare := _bare(node, visible)) is not None:
        return bare
    output = nodes.Output([node], lineno=node.lineno)
    return _computed(output, prelude, visible)


def _bare(node: nodes.Expr, visible: Visible) -> Piece | None:
    """Return the piece for a reference that stands alone."""
    if (name := _input_name(node)) is not None:
        return InputPiece(name)
    if (stage := _stage_output(node)) is not None:
        return OutputPiece(stage)
    if isinstance(node, nodes.Name) and node.name in visible.items:
        return ItemPiece(node.name)
    if isinstance(node, nodes.Name) and node.name == "previous" and visible.in_loop:
        return PreviousPiece()
    return _joined(node, visible)


def _joined(node: nodes.Expr, visible: Visible) -> OutputPiece | None:
    """Return the piece for `stages.x.output | join('...')` of a mapped stage."""
    if not isinstance(node, nodes.Filter) or node.name != "join" or node.node is None:
        return None
    stage = _stage_output(node.node)
    plain = not node.kwargs and node.dyn_args is None and node.dyn_kwargs is None
    if stage is None or stage not in visible.mapped or not plain or len(node.args) > 1:
        return None
    argument = node.args[0] if node.args else nodes.Const("")
    if not isinstance(argument, nodes.Const) or not isinstance(argument.value, str):
        return None
    return OutputPiece(stage, argument.value)


def _computed(node: nodes.Node, prelude: list[nodes.Node], visible: Visible) -> Computed:
    tree = nodes.Template([*prelude, node], lineno=1)
    tree.set_environment(ENVIRONMENT)
    references = References()
    for _ in _misused(tree, visible, references):
        raise AssertionError("wrong uses were reported before")
    return Computed(ENVIRONMENT.from_string(tree), references, node.lineno)


def _merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    text = ""
    for piece in pieces:
        if isinstance(piece, Static):
            text += piece.text
            continue
        if text:
            yield Static(text)
            text = ""
        yield piece
    if text:
        yield Static(text)
