"""Options that several commands share, and their parsing."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import typer
import yaml

from fate.domain.errors import FateError

Roles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE=MODEL", help="Use another model for a role."),
]
PolicyName: TypeAlias = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME", help="Who decides; see `fate list policies`."),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the policy, e.g. depth=1."),
]


def parse_pairs(pairs: Iterable[str], option: str) -> dict[str, str]:
    """Return `name=value` arguments as a dictionary."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise FateError(f"{option} {pair}: write it as name=value")
        found[name] = value
    return found


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Return `name=value` arguments with values as YAML reads them: numbers, booleans, text."""
    return {name: yaml.safe_load(v) for name, v in parse_pairs(pairs, "--set").items()}
