"""The docs say what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


def generator() -> ModuleType:
    """Import docs/generate_cli.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_command_page_is_current() -> None:
    """Options in docs/cli.md are those of `--help`."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == generator().page(), "run: .venv/bin/python docs/generate_cli.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_named_in_the_docs_exist(path: Path) -> None:
    """A renamed file takes its mentions with it."""
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|docs|examples)/[\w./-]+\.(?:py|md|yaml|txt|sh))`", text)
    made_up = {"src/fate/policy/baselines/shortest_first.py"}
    assert [name for name in named if name not in made_up and not (ROOT / name).exists()] == []
