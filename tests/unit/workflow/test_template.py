"""Templates: pieces, strictness, the sandbox."""

import pytest

from fate.workflow.template import (
    RENDER_ERRORS,
    Computed,
    InputPiece,
    ItemPiece,
    OutputPiece,
    Static,
    Visible,
    parse,
    parse_value,
)

SCOPE = Visible(items=frozenset({"item"}), mapped=frozenset({"notes"}))


def test_a_template_is_cut_at_its_top_level() -> None:
    """Bare references keep their identity; anything else is computed."""
    template = parse(
        "A {{ inputs.doc }}{{ stages.notes.output | join(', ') }}{{ stages['one'].output }}"
        "{{ item }}{{ inputs.doc | upper }}{% for n in stages.notes.output %}{{ n }}{% endfor %}",
        SCOPE,
    )
    assert template.problems == []
    assert template.pieces[:5] == (
        Static("A "),
        InputPiece("doc"),
        OutputPiece("notes", ", "),
        OutputPiece("one"),
        ItemPiece(),
    )
    assert [type(piece) for piece in template.pieces[5:]] == [Computed, Computed]
    assert list(template.references.stages) == ["notes", "one"]
    assert "item" in template.references.names


def test_set_reaches_the_pieces_behind_it() -> None:
    """Pieces are rendered one by one, yet a `set` before them holds."""
    template = parse("{% set a = inputs.x * 2 %}{{ a }} and {{ a + 1 }}", Visible())
    rendered = [
        piece.program.render({"inputs": {"x": 3}})
        for piece in template.pieces
        if isinstance(piece, Computed)
    ]
    assert rendered == ["6", "7"]


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        ("{{ a", 1, "template syntax"),
        ("x\n{{ inpts.doc }}", 2, "Did you mean 'inputs'?"),
        ("{{ inputs }}", 1, "write `inputs.NAME`"),
        ("{{ stages.x }}", 1, "write `stages.x.output`"),
        ("{{ stages.x.text }}", 1, "write `stages.x.output`"),
        ("{{ inputs.a | uper }}", 1, "Did you mean 'upper'?"),
        ("{% if inputs.a is definde %}{% endif %}", 1, "Did you mean 'defined'?"),
        ("{% include 'x' %}", 1, "include is not available"),
        ("{{ lipsum() }}", 1, "'lipsum' is not defined"),
    ],
)
def test_mistakes_are_found_without_rendering(source: str, line: int, what: str) -> None:
    """Names, filters and tests are checked when the file is loaded."""
    problems = parse(source, Visible()).problems
    assert len(problems) == 1
    assert problems[0][0] == line and what in problems[0][1]


def test_keys_of_mappings_win_over_methods() -> None:
    """`inputs.items` is the input, not a method of a dictionary."""
    value, _ = parse_value("{{ inputs.items }}", Visible())
    assert value is not None
    assert value.evaluate({"inputs": {"items": [1, 2]}}) == [1, 2]


def test_values_become_json_in_text() -> None:
    """Lists, mappings, booleans and nothing look like JSON, not like Python."""
    (piece,) = parse("{{ [inputs.a, true, none, {'k': 'é'}] }}", Visible()).pieces
    assert isinstance(piece, Computed)
    assert piece.program.render({"inputs": {"a": "x"}}) == '["x", true, null, {"k": "é"}]'


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ inputs.a.__init__ }}",
        "{{ inputs.l.append(1) }}",
        "{{ inputs.a.format.__globals__ }}",
        "{{ range(10000000) | list }}",
        "{{ inputs.missing }}",
        "{{ inputs.d.missing.more }}",
        "{{ 1 / 0 }}",
    ],
)
def test_the_sandbox_holds_and_missing_values_raise(source: str) -> None:
    """No way to Python's internals, no mutation, no silent blanks."""
    value, template = parse_value(source, Visible())
    assert value is not None, template.problems
    with pytest.raises(RENDER_ERRORS):
        print(value.evaluate({"inputs": {"a": "x", "l": [], "d": {}}}))  # noqa: T201
