"""Words that make no command: one line that says what, where, and how to go on; exit code 2."""

import signal
import sys
from collections.abc import Generator

import pytest

from fate.cli import main


@pytest.fixture(autouse=True)
def signals() -> Generator[None]:
    """The command line sets handlers; they end with the test."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def fate(monkeypatch: pytest.MonkeyPatch, words: str) -> object:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["fate", *words.split()])
    with pytest.raises(SystemExit) as end:
        main.main()
    return end.value.code


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--nope", "fate: no such option: --nope; see `fate --help`"),
        ("nope", "fate: no such command 'nope'; see `fate --help`"),
        ("runs nope", "fate runs: no such command 'nope'; see `fate runs --help`"),
        ("run", "fate run: missing argument 'WORKFLOW'; see `fate run --help`"),
        ("run a b", "fate run: got unexpected extra argument(s) (b); see `fate run --help`"),
        ("run a --see 1", "(Possible options: --seed, --set); see `fate run --help`"),
        ("run a --seed", "fate run: option '--seed' requires an argument; see `fate run --help`"),
        ("bench real-dag --jobs x", "fate bench real-dag: invalid value for '--jobs': "),
    ],
)
def test_a_usage_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, line: str
) -> None:
    """Of every command, on stderr."""
    assert fate(monkeypatch, words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: fate") and line in said.err, said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", [*main.COMMANDS])
def test_no_command_bears_an_unknown_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """They are all handled in one place."""
    assert fate(monkeypatch, f"{command} --no-such-thing") == 2
    line = f"error: fate {command}: no such option: --no-such-thing; see `fate {command} --help`\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("words", ["", "bench"])
def test_a_group_without_a_command_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """That is no mistake worth a line; scripts still see that nothing was done."""
    assert fate(monkeypatch, words) == 2
    assert capsys.readouterr().err.startswith(f"Usage: {' '.join(['fate', *words.split()])} [")


@pytest.mark.parametrize("words", ["--version", "run --help", "list policies"])
def test_what_is_asked_for_is_no_error(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Exit code 0."""
    assert fate(monkeypatch, words) in (0, None)


@pytest.mark.parametrize(("said", "line"), [((), "interrupted\n"), (("x",), "interrupted; x\n")])
def test_an_interruption_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: tuple[str, ...],
    line: str,
) -> None:
    """Whoever was interrupted may say what is kept; 130 is what shells expect."""

    def stopped(_words: list[str]) -> None:
        raise KeyboardInterrupt(*said)

    monkeypatch.setattr(main, "_run", stopped)
    assert fate(monkeypatch, "bench real-dag") == 130
    assert capsys.readouterr().err == line


def test_a_closed_pipe_is_left_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As of `fate … | head`."""

    def nobody_reads(_words: list[str]) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(main, "_run", nobody_reads)
    assert fate(monkeypatch, "runs") == 1
    assert capfd.readouterr().err == ""
