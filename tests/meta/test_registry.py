"""The plug-in tables: every string resolves, and mistakes are answered with a hint."""

import inspect
import json
import sys

import pytest

from fate.cli.main import main
from fate.domain.errors import FateError
from fate.registry import BUILTIN, build, names, resolve

ENTRIES = [(kind, name) for kind, table in BUILTIN.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_string_resolves_to_something_documented(kind: str, name: str) -> None:
    """`fate list` shows the first paragraph of the docstring, so there must be one."""
    doc = inspect.getdoc(resolve(kind, name))
    assert doc and len(doc.partition("\n\n")[0]) <= 100


@pytest.mark.parametrize("kind", sorted(BUILTIN))
def test_tables_are_sorted(kind: str) -> None:
    """A name is found, and added, in one place."""
    assert list(BUILTIN[kind]) == sorted(BUILTIN[kind])


@pytest.mark.parametrize("name", sorted(set(BUILTIN["policy"]) - {"fate"}))
def test_a_baseline_names_source_rule_and_deviations(name: str) -> None:
    """A baseline without them proves nothing."""
    doc = inspect.getdoc(resolve("policy", name)) or ""
    assert all(word in doc for word in ("Source:", "Rule:", "Deviations:"))


def test_an_unknown_name_suggests_a_known_one() -> None:
    """Typing errors are answered with the nearest name."""
    with pytest.raises(FateError, match="unknown policy 'round-robbin'; did you mean 'round-robin"):
        build("policy", "round-robbin")


def test_a_name_like_no_other_lists_what_is_known() -> None:
    """Without a near name the table is printed."""
    with pytest.raises(FateError, match="known: fake, llamacpp, openai"):
        build("engine", "zzz")


def test_an_unknown_option_is_refused() -> None:
    """An option that nobody reads would be a mistake nobody notices."""
    with pytest.raises(FateError, match="policy 'late-eft' takes no options, but 'depth' is given"):
        build("policy", "late-eft", depth=3)


def test_list_prints_every_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fate list policies --json` is the table with summaries."""
    monkeypatch.setattr(sys, "argv", ["fate", "list", "policies", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    lines = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in lines] == names("policy")
    assert all(line["summary"] and line["source"] == "built-in" for line in lines)
