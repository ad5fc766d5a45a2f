"""Leaving a process in which a kernel is still being compiled."""

import subprocess
import sys

import pytest

CODE = """
import threading
from fate.cli import main
from fate.drivers import warm

go = threading.Event()
thread = threading.Thread(target=go.wait, daemon=True)
thread.start()
warm._threads.append(thread)
if {code} in (0, 1):
    threading.Timer(0.1, go.set).start()
print("said")
main._leave({code})
"""


@pytest.mark.parametrize(("code", "waits"), [(0, True), (1, True), (2, False), (130, False)])
def test_a_run_waits_for_the_kernel_and_an_error_does_not(code: int, waits: bool) -> None:
    """The exit code is the command's, and what was printed is there."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(code=code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, "said\n")
    assert ("compiling the planner's kernel" in done.stderr) is waits
