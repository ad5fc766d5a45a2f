"""Waiting for other processes without looking again and again: for what they say, for their end."""

import os
import select
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

#: Nothing here takes as long, however slow the machine [s].
LONGEST_S = 60.0


@contextmanager
def listening(path: Path) -> Generator[Callable[[], str]]:
    """Make a named pipe; the function that is yielded waits for a line that is written to it."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # also for writing: writers come and go

    def line() -> str:
        wait_for(pipe)
        return os.read(pipe, select.PIPE_BUF).decode()

    try:
        yield line
    finally:
        os.close(pipe)


def ended(pid: int) -> None:
    """Wait until a process has ended, whoever its parent is and whether it was reaped."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        wait_for(handle)
    finally:
        os.close(handle)


def wait_for(*handles: int) -> None:
    """Wait until one of some file descriptors has something to read."""
    ready, _, _ = select.select(handles, [], [], LONGEST_S)
    assert ready, f"nothing happened within {LONGEST_S:g} s"
