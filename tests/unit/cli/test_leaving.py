"""Leaving a process in which a kernel is still being brought up."""

import subprocess
import sys
from pathlib import Path

import pytest

BRING_UP = """
import threading
from pathlib import Path
from fate.cli import main
from fate.drivers import warm

go = threading.Event()
thread = threading.Thread(target=go.wait, daemon=True)
thread.start()
warm._begun.append(warm._WarmUp(thread, Path({mark!r})))
if {soon}:
    timer = threading.Timer(0.3, go.set)
    timer.daemon = True
    timer.start()
print("said")
"""
LEAVE = """
main._leave({code})
"""


def left(code: str) -> tuple[int, str, str]:
    """Run code in a process; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("code", "waits"), [(0, True), (1, True), (2, False), (130, False)])
def test_a_run_waits_for_the_kernel_and_an_error_does_not(code: int, waits: bool) -> None:
    """The exit code is the command's, and what was printed is there."""
    begun = BRING_UP.format(mark="/nowhere/mark", soon=waits)
    ended, said, told = left(begun + LEAVE.format(code=code))
    assert (ended, said) == (code, "said\n")
    assert ("compiling the planner's kernel" in told) is waits


def test_nobody_waits_for_a_kernel_that_is_only_loaded(tmp_path: Path) -> None:
    """It was compiled before: nothing is lost with it."""
    (tmp_path / "mark").touch()
    begun = BRING_UP.format(mark=str(tmp_path / "mark"), soon=False)
    assert left(begun + LEAVE.format(code=0)) == (0, "said\n", "")


def test_a_program_of_the_users_says_why_it_does_not_end_yet() -> None:
    """Where no command of ours leaves: `fate.run` in a script."""
    assert left(BRING_UP.format(mark="/nowhere/mark", soon=True))[2].startswith("compiling")
