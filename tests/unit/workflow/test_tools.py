"""Tools: what they make, and how they fail."""

import json
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from fate.workflow.spec import (
    JoinTool,
    JsonTool,
    PythonTool,
    SelectTool,
    SplitTool,
    ToolStage,
)
from fate.workflow.tools import ToolError, run


def ran(spec: ToolStage, **arguments: Any) -> Any:
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


@pytest.fixture
def own_code(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Install a module `fate_own_code` whose `hang` waits for the event this returns."""
    release = threading.Event()

    def double(x: list[int]) -> list[int]:
        return x * 2

    def explode(message: str) -> None:
        raise RuntimeError(message)

    def large() -> str:
        return "x" * 10_000

    def odd() -> set[int]:
        return {1, 2}

    module = ModuleType("fate_own_code")
    for function in (double, explode, large, odd):
        setattr(module, function.__name__, function)
    module.__dict__["leave"], module.__dict__["hang"] = sys.exit, release.wait
    monkeypatch.setitem(sys.modules, "fate_own_code", module)
    return release


def test_own_code_returns_values(own_code: threading.Event) -> None:
    """Arguments arrive as values."""
    assert own_code is not None
    assert ran(PythonTool(python="fate_own_code:double"), x=[1]) == [1, 1]


@pytest.mark.parametrize(
    ("function", "arguments", "what"),
    [
        ("explode", {"message": "boom"}, "fate_own_code:explode raised RuntimeError: boom"),
        ("leave", {}, "raised SystemExit"),
        ("large", {}, "returned 10002 bytes, over the limit of 5000"),
        ("odd", {}, "the result is not JSON-like"),
        ("double", {"y": 1}, "raised TypeError"),
        ("none", {}, "has no function 'none'"),
    ],
)
def test_own_code_fails_clearly(
    own_code: threading.Event, function: str, arguments: dict[str, Any], what: str
) -> None:
    """One line that names the stage, the function and the reason."""
    assert own_code is not None
    spec = PythonTool(python=f"fate_own_code:{function}", max_output_bytes=5000)
    with pytest.raises(ToolError) as caught:
        run("mine", spec, arguments)
    assert str(caught.value).startswith("stage 'mine': ") and what in str(caught.value)


def test_own_code_that_hangs_is_given_up(own_code: threading.Event) -> None:
    """The stage fails at the timeout; the thread is left behind."""
    spec = PythonTool(python="fate_own_code:hang", timeout_s=0.02)
    with pytest.raises(ToolError, match=r"hang did not return within 0\.02 s"):
        run("mine", spec, {})
    own_code.set()
