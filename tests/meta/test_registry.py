"""The plug-in tables: every string resolves, and mistakes are answered with a hint."""

import inspect
import json
import sys
from pathlib import Path

import pytest

from fate.bench.rivals import RIVALS
from fate.cli.main import main
from fate.domain.errors import FateError
from fate.registry import BUILTIN, aim, aims, build, names, resolve

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


def test_every_objective_is_options_of_its_policy() -> None:
    """The same ones in each row, all of them numbers from 0 on; a policy takes them all."""
    able = {name: aims(name) for name in names("policy") if aims(name)}
    assert "foresight" in able
    for name, rows in able.items():
        assert len({tuple(row) for row in rows.values()}) == 1
        for objective, row in rows.items():
            assert aim(name, objective) == row and min(row.values()) >= 0
            build("policy", name, **row)


def test_weights_are_an_objective_too() -> None:
    """What is not named counts nothing."""
    assert aim("foresight", "tail=2.5") == {"mean": 0.0, "tail": 2.5}
    assert aim("foresight", "mean=.5, tail=1") == {"mean": 0.5, "tail": 1.0}


@pytest.mark.parametrize(
    ("policy", "objective", "said"),
    [
        ("late-eft", "mean", "policy 'late-eft' takes no objective; those that do: foresight"),
        ("foresight", "means", "knows makespan, mean, tail, balanced, .*Did you mean 'mean'"),
        (
            "foresight",
            "mean=-1",
            "write numbers from 0 on for mean, tail",
        ),
        ("foresight", "mean=nan", "'mean=nan' is not a weight"),
        ("foresight", "speed=1", "'speed=1' is not a weight"),
        ("foresight", "", "policy 'foresight' knows"),
    ],
)
def test_an_objective_that_means_nothing_is_refused(policy: str, objective: str, said: str) -> None:
    """With what there is instead."""
    with pytest.raises(FateError, match=said):
        aim(policy, objective)
