"""What policies see is made of estimates: no truth gets into the layers below the drivers."""

import ast
from pathlib import Path
from typing import get_type_hints

import pytest

import fate
from fate.domain.graph import Chunk
from fate.domain.plan import Memo
from fate.domain.snapshot import F64, I32, I64, U8, Snapshot

ROOT = Path(fate.__file__).parent
#: Layers in which nothing may be known of a world.
BLIND = sorted(
    path for layer in ("domain", "cost", "policy", "core") for path in (ROOT / layer).rglob("*.py")
)
#: What a world is made of.
OF_THE_WORLD = {"Truth", "Physics", "World", "Declared", "Measured", "actual"}
#: The only places that make snapshots: from the core's state, from another snapshot, or of nothing.
MAKERS = {"core/snapshot.py", "policy/kernel/backend.py"}


def names_in(path: Path) -> set[str]:
    """Return every name, attribute, argument and imported name of a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
            case ast.ImportFrom(module=module, names=names):
                found.update([module or "", *(alias.name for alias in names)])
            case ast.Import(names=names):
                found.update(alias.name for alias in names)
            case _:
                pass
    return found


@pytest.mark.parametrize("path", BLIND, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_layer_below_the_drivers_names_a_world(path: Path) -> None:
    """Neither by import nor by duck-typing."""
    found = names_in(path)
    assert not found & OF_THE_WORLD
    assert not [name for name in found if name.startswith("fate.drivers")]


def test_snapshots_are_numbers_and_names() -> None:
    """No field can carry an object that knows more: arrays, numbers, chunks and names only."""
    plain = {int, float, tuple[int, int], tuple[Chunk, ...], tuple[str, ...]}
    for name, kind in get_type_hints(Snapshot).items():
        assert kind in plain or kind in (I32, I64, F64, U8), f"{name}: {kind}"


def test_memos_are_numbers_and_names() -> None:
    """Nor can what a policy remembers."""
    allowed = (int, float, str, Chunk, tuple)
    for name, kind in get_type_hints(Memo).items():
        for part in _parts(kind):
            assert part in allowed, f"{name}: {part}"


def _parts(kind: object) -> list[object]:
    inner = [arg for arg in getattr(kind, "__args__", ()) if arg is not Ellipsis]
    if not inner:
        return [kind]
    return [part for arg in inner for part in _parts(arg)]


def test_snapshots_have_one_maker() -> None:
    """All that is in a snapshot comes from the core's state, which holds estimates."""
    makers = {
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Snapshot"
    }
    assert makers == MAKERS
