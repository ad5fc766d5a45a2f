"""House rules that no linter knows."""

import ast
from pathlib import Path

import pytest

import fate

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def label(path: Path) -> str:
    """Name a file by its path below the checkout."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_files_stay_short(path: Path) -> None:
    """A longer file needs a split, not a waiver."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_functions_stay_short(path: Path) -> None:
    """A function is read without scrolling: about 40 lines behind its docstring, never over 50."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - code[0].lineno + 1 if code else 0
            assert length <= 50, f"{node.name} has {length} lines"


def test_the_public_interface_is_pinned() -> None:
    """Adding a name is a decision, removing one breaks users; each name leads somewhere."""
    assert sorted(fate.__all__) == [
        "ClusterSpec",
        "FateError",
        "ITEM",
        "RunFailedError",
        "RunResult",
        "Workflow",
        "WorkflowSpec",
        "__version__",
        "expr",
        "load_cluster",
        "load_workflow",
        "run",
        "run_sync",
        "tool",
    ]
    assert all(getattr(fate, name) for name in fate.__all__)
    assert dir(fate) == sorted(fate.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """`hasattr` and typing errors work as with any module."""
    with pytest.raises(AttributeError, match="module 'fate' has no attribute 'Wrokflow'"):
        _ = fate.Wrokflow
