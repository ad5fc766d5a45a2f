"""Tools: what they make, and how they fail."""

import json
from typing import Any

import pytest

from fate.workflow.own_code import ToolError
from fate.workflow.spec import (
    BuiltInTool,
    JoinTool,
    JsonTool,
    SelectTool,
    SplitTool,
)
from fate.workflow.tools import run


def ran(spec: BuiltInTool, **arguments: Any) -> Any:
    """Return the value of a tool's stored result."""
    return json.loads(run("s", spec, arguments))


@pytest.mark.parametrize(
    ("by", "size", "overlap", "text", "pieces"),
    [
        ("sentence", 1, 0, "One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("sentence", 2, 1, "A. B. C.", ["A. B.", "B. C."]),
        ("paragraph", 1, 0, "a\nb\n \n\nc\n", ["a\nb", "c"]),
        ("lines", 2, 0, "a\n\nb\nc", ["a\nb", "c"]),
        ("characters", 4, 1, "abcdefgh", ["abcd", "defg", "gh"]),
        ("paragraph", 3, 1, "only", ["only"]),
        ("lines", 1, 0, "  \n ", []),
        ("characters", 3, 2, "", []),
    ],
)
def test_split(by: Any, size: int, overlap: int, text: str, pieces: list[str]) -> None:
    """Every unit lands in a piece; empty texts give none."""
    assert ran(SplitTool(of="", by=by, size=size, overlap=overlap), of=text) == pieces


def test_join_and_select() -> None:
    """Join stores text, select any value."""
    assert run("s", JoinTool(of="", separator="; "), {"of": ["a", 1, {"b": None}]}) == (
        'a; 1; {"b": null}'
    )
    assert ran(SelectTool(of="", index=-1), of=[1, 2]) == 2
    assert ran(SelectTool(of="", slice=(1, None)), of=[1, 2, 3]) == [2, 3]
    assert ran(SelectTool(of="", first=2), of=[1, 2, 3]) == [1, 2]
    assert ran(SelectTool(of="", key="a"), of={"a": "x"}) == "x"
    with pytest.raises(ToolError, match="stage 's': there is no 7 in"):
        ran(SelectTool(of="", index=7), of=[1])
    with pytest.raises(ToolError, match="needs a list"):
        ran(JoinTool(of=""), of="text")


def test_json_is_found_inside_prose() -> None:
    """Small models like to talk around their JSON."""
    text = 'Sure [as asked]! Here: {"a": {"b": [1, 2]}} Hope it helps.'
    assert ran(JsonTool(of="", path="a.b[1]"), of=text) == 2
    assert ran(JsonTool(of=""), of='"x"') == "x"
    with pytest.raises(ToolError, match="no JSON found"):
        ran(JsonTool(of=""), of="nothing here")
    with pytest.raises(ToolError, match=r"path 'a\?' is not understood"):
        ran(JsonTool(of="", path="a?"), of='{"a": 1}')
    with pytest.raises(ToolError, match="there is no 'c'"):
        ran(JsonTool(of="", path="a.c"), of=text)


def test_a_large_result_is_refused() -> None:
    """The limit counts bytes as stored."""
    spec = JoinTool(of="", max_output_bytes=5)
    with pytest.raises(ToolError, match="stage 's': join returned 6 bytes, over the limit of 5"):
        run("s", spec, {"of": ["äöü"]})
