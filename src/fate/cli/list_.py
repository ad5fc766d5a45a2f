"""`fate list`: the names in the plug-in tables."""

import inspect
import json
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from fate import registry

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is printed of one plug-in."""

    name: str
    summary: str
    source: str


@app.command()
def policies(*, as_json: AsJson = False) -> None:
    """List the scheduling policies."""
    _show("policy", as_json=as_json)


@app.command()
def engines(*, as_json: AsJson = False) -> None:
    """List the engines that run models."""
    _show("engine", as_json=as_json)


def _show(kind: str, *, as_json: bool) -> None:
    lines = [
        Line(name=plugin.name, summary=_summary(plugin), source=plugin.source)
        for plugin in registry.plugins(kind).values()
    ]
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
        return
    width = max(len(line.name) for line in lines)
    for line in lines:
        origin = "" if line.source == "built-in" else f" [{line.source}]"
        print(f"{line.name:<{width}}  {line.summary}{origin}")


def _summary(plugin: registry.Plugin) -> str:
    doc = inspect.getdoc(registry.resolve(plugin.kind, plugin.name)) or ""
    return " ".join(doc.partition("\n\n")[0].split())
