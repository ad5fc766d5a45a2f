"""The plug-in tables: every string resolves, and mistakes are answered with a hint."""

import inspect
import json
import sys
from pathlib import Path

import pytest

from fate.bench.rivals import RIVALS
from fate.cli.main import main
from fate.domain.errors import FateError
from fate.registry import BUILTIN, build, names, resolve

#: Where baselines are followed by hand.
BY_HAND = Path(__file__).parents[1] / "unit/policy/baselines"

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


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_a_baseline_names_source_rule_and_deviations(name: str) -> None:
    """A baseline without them proves nothing."""
    doc = inspect.getdoc(resolve("policy", name)) or ""
    assert all(word in doc for word in ("Source:", "Rule:", "Deviations:"))


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_a_baseline_is_followed_by_hand(name: str) -> None:
    """Some test beside the baselines names it, with decisions worked out on paper."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(BY_HAND.glob("test_*.py"))]
    assert any(f'"{name}"' in text for text in texts)


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
