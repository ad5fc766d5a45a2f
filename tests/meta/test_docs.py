"""The docs say what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.workflow.load import load_workflow

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


def generator(name: str) -> ModuleType:
    """Import a program of docs/, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block(page: str, language: str) -> str:
    """Return the first code block in a language on a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_workflow_in_the_readme_is_valid(tmp_path: Path) -> None:
    """The first file a newcomer copies works."""
    source = block("README.md", "yaml")
    assert 18 <= len(source.splitlines()) <= 22
    (tmp_path / "my.yaml").write_text(source, encoding="utf-8")
    spec = load_workflow(tmp_path / "my.yaml")
    assert list(spec.stages) == ["parts", "notes", "notebook", "summary"]


def test_the_policy_in_the_docs_plans() -> None:
    """The example of docs/add-a-policy.md does what it says: shortest first, on idle devices."""
    names: dict[str, Any] = {}
    exec(compile(block("docs/add-a-policy.md", "python"), "add-a-policy.md", "exec"), names)
    ready = [Node(output=30.0), Node(output=10.0), Node(output=20.0)]
    snapshot = make_snapshot(ready, [Box(), Box(free_in=(5.0,)), Box()], [Kind()])
    plan = names["ShortestFirst"]().plan(snapshot, None)
    assert plan.orders == ((snapshot.chunks[1],), (), (snapshot.chunks[2],))


@pytest.mark.slow
def test_the_command_page_is_current() -> None:
    """Options in docs/cli.md are those of `--help`."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    program = generator("generate_cli")
    assert page == program.page(), "run: .venv/bin/python docs/generate_cli.py"


def test_the_page_of_baselines_is_current() -> None:
    """Sources, rules and deviations in docs/baselines.md are those of the policies."""
    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    program = generator("generate_baselines")
    assert page == program.page(), "run: .venv/bin/python docs/generate_baselines.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_named_in_the_docs_exist(path: Path) -> None:
    """A renamed file takes its mentions with it."""
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|docs|examples)/[\w./-]+\.(?:py|md|yaml|txt|sh))`", text)
    made_up = {"src/fate/policy/baselines/shortest_first.py"}
    assert [name for name in named if name not in made_up and not (ROOT / name).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    """A page that no list names is read by nobody."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f" {page}\n" not in navigation] == []
