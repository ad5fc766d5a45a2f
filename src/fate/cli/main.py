"""`fate`: the table of commands, and what happens when one fails.

Only the command that is called is imported; the others are stubs with a name and a line of help.
"""

import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer
from typer.main import get_command

from fate import __version__
from fate.domain.errors import FateError


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: where its function or sub-application is, and its line in `fate --help`."""

    target: str
    help: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("fate.cli.run:run", "Run a workflow on real models."),
    "resume": Entry("fate.cli.resume:resume", "Go on with a run that stopped."),
    "runs": Entry("fate.cli.runs:app", "List, show and prune the runs that are kept."),
    "simulate": Entry("fate.cli.simulate:simulate", "Run workflows in virtual time."),
    "timeline": Entry("fate.cli.timeline:timeline", "Write a run's timeline, or compare two."),
    "explain": Entry("fate.cli.explain:explain", "Show why a stage of a run went where it went."),
    "compare": Entry("fate.cli.compare:compare", "Simulate a run's work under other policies."),
    "replay": Entry("fate.cli.replay:replay", "Check a run's journal, or decide it anew."),
    "graph": Entry("fate.cli.graph:graph", "Draw what a workflow's stages need of each other."),
    "validate": Entry("fate.cli.validate:validate", "Report every problem of workflow files."),
    "schema": Entry("fate.cli.schema:schema", "Print the JSON Schema of a file format."),
    "models": Entry("fate.cli.models:app", "Pull, list and remove model weights."),
    "list": Entry("fate.cli.list_:app", "List policies and engines."),
    "bench": Entry("fate.cli.bench:app", "Measure policies and the scheduler."),
}

#: What the system refuses for a reason that whoever typed the command can mend, and how.
_REFUSED: dict[int, str] = {
    errno.ENOSPC: "free some space, or name another place",
    errno.EDQUOT: "free some space, or name another place",
    errno.EFBIG: "raise the limit on file sizes, or name another place",
    errno.EACCES: "name a place that may be written, or change its mode",
    errno.EPERM: "name a place that may be written, or change its mode",
    errno.EROFS: "name a place that may be written",
    errno.ENOENT: "name a place whose folder exists",
    errno.ENOTDIR: "one of the folders in it is a file; name another place",
    errno.EEXIST: "it is there and is no folder; name another place",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
}


#: What words that make no command raise; typer has a public name only for one kind of it.
_UsageError: type[Exception] = cast("type[Exception]", typer.BadParameter.__base__)


def application(command: str | None) -> typer.Typer:
    """Return the command line with `command` imported and every other command as a stub."""
    app = typer.Typer(
        name="fate",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, entry in COMMANDS.items():
        target = _load(entry.target) if name == command else _stub
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=entry.help)
        else:
            app.command(name, help=None if name == command else entry.help)(target)
    return app


def main() -> None:
    """Run the command line; a `FateError` becomes one line and exit code 2.

    So does what the system refuses for a reason that can be mended from outside, as a full disk.
    """
    # Shells start background jobs with SIGINT ignored; whoever sends it means it. SIGTERM ends a
    # command alike, so that what it started ends with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    code: str | int | None = 0
    try:
        _run(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    except typer.Exit as end:
        code = end.exit_code
    except _UsageError as error:
        print(_misused(cast("typer.BadParameter", error), _named(sys.argv[1:])), file=sys.stderr)
        code = 2
    except BrokenPipeError:  # as of `fate … | head`: nobody is there to be told
        with suppress(OSError):  # no file is behind it: nothing is flushed to it at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except FateError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}; {_REFUSED[error.errno]}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as stop:
        print("; ".join(["interrupted", *map(str, stop.args)]), file=sys.stderr)
        code = 130
    _leave(code)


def _run(words: list[str]) -> None:
    """Run the command that the words name.

    Not by calling the application: that ends the process, and says what is wrong in a box of lines.
    """
    command = get_command(application(_named(words)))
    with command.make_context("fate", words) as context:
        command.invoke(context)


def _named(words: list[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def _misused(error: typer.BadParameter, name: str | None) -> str:
    """Return one line on words that make no command; for a group without one, its help."""
    said, context = error.format_message(), error.ctx
    if context is not None and said == context.get_help():
        return said
    known = f"fate {name}" if name in COMMANDS else "fate"  # some errors do not say where
    path = known if context is None else context.command_path
    what = " ".join(said.split()).rstrip(".")
    return f"error: {path}: {what[:1].lower()}{what[1:]}; see `{path} --help`"


def _leave(code: str | int | None) -> None:
    """Exit; after a run, let a kernel be compiled to its end, or runs this short never have one.

    One that is only loaded is left alone. Where nobody waits for it the interpreter is not taken
    down in order: that would crash.
    """
    warm = sys.modules.get("fate.drivers.warm")
    if warm is None or not warm.warming() or not isinstance(code, int | None):
        sys.exit(code)
    try:
        if code in (None, 0, 1) and warm.compiling():
            warm.wait(sys.stderr.write)
    except KeyboardInterrupt:
        pass
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fate {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Schedule and run workflows of language model calls over several devices."""


def _stub() -> None:
    raise AssertionError("stubs stand in for commands that are not called")


def _load(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
