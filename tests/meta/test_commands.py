"""The command line: what it imports, what it says, how it ends."""

import errno
import os
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from fate import __version__
from fate.cli.main import COMMANDS, main
from fate.domain.errors import FateError

HEAVY = ("numpy", "ortools", "numba", "jinja2", "xllamacpp", "pydantic", "rich", "aiohttp")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "90"},
    )


def test_help_imports_nothing_heavy() -> None:
    """`fate --help` is quick because it imports no command."""
    code = (
        "import sys\nfrom fate.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = python(code, "--help")
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_entry_leads_to_a_command(name: str) -> None:
    """Each import string of the table resolves."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(import_module(module), attribute)
    assert isinstance(target, typer.Typer) or callable(target)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` needs no command."""
    monkeypatch.setattr(sys, "argv", ["fate", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert capsys.readouterr().out == f"fate {__version__}\n"


def run_command(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], *arguments: object
) -> int | str | None:
    """Run a command that raises; return the exit code."""

    def fails() -> None:
        raise error(*arguments)

    def load(_target: str) -> object:
        return fails

    monkeypatch.setattr("fate.cli.main._load", load)
    monkeypatch.setattr(sys, "argv", ["fate", "run"])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_an_error_of_the_user_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, on stderr, and exit code 2."""
    assert run_command(monkeypatch, FateError, "no such file") == 2
    assert capsys.readouterr().err == "error: no such file\n"


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells expect of a process ended by Ctrl-C."""
    assert run_command(monkeypatch, KeyboardInterrupt) == 130


def test_a_closed_pipe_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fate ... | head` prints no traceback."""
    assert run_command(monkeypatch, BrokenPipeError, 32, "Broken pipe") == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["/there/a.json", None])
def test_what_the_system_refuses_is_one_line(
    name: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where, what and how to mend it; writes to an open file do not say where."""
    assert run_command(monkeypatch, OSError, errno.ENOSPC, "No space left on device", name) == 2
    where = f"{name}: " if name else ""
    assert capsys.readouterr().err == (
        f"error: {where}No space left on device; free some space, or name another place\n"
    )


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what can be mended from outside is turned into a line."""

    def fails() -> None:
        raise ZeroDivisionError

    def load(_target: str) -> object:
        return fails

    monkeypatch.setattr("fate.cli.main._load", load)
    monkeypatch.setattr(sys, "argv", ["fate", "run"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_run_without_a_terminal_needs_no_rich() -> None:
    """Whoever pipes progress into a file does not wait for the live view's imports."""
    code = "import sys, fate.cli.run; print([m for m in sys.modules if m.startswith('rich')])"
    assert python(code).stdout.strip() == "[]"
