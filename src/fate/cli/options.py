"""Options that several commands share, and their parsing."""

from collections.abc import Iterable
from pathlib import Path
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
Objective: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="AIM",
        help="Policy's aim: makespan, mean, tail, balanced, or weights as in mean=0.5,tail=1.",
    ),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the policy, e.g. depth=1."),
]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; NAME=@FILE reads it."),
]
ClusterFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cluster", metavar="FILE", help="Cluster file; by default made from this machine."
    ),
]
OutFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write results as JSON Lines, in order of inputs."),
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the summary as JSON; - is stdout."),
]
TimelineFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--timeline", metavar="FILE", help="Write the timeline as one HTML file."),
]
FaultFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--faults", metavar="FILE", help="What goes wrong on purpose (fate.faults/1)."),
]
NoReuse: TypeAlias = Annotated[
    bool, typer.Option("--no-reuse", help="Make every call, identical ones too.")
]
Plain: TypeAlias = Annotated[
    bool, typer.Option("--plain", help="Progress lines instead of the live view.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress at all.")]


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
