"""Processes that work for a bench: they end with it, however that comes."""

import math
import os
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import pytest
from tests.waiting import ended

from fate.bench.workers import resumable, spread

#: Its second task takes an hour; what it says first are the ids of its processes.
BENCH = """
import sys
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path
from time import sleep
from fate.bench.workers import resumable, spread
from fate.cli import main

def bench(_words):
    with resumable(Path("there")), closing(spread(sleep, [0.0, 3600.0, 3600.0], 2)) as done:
        for task, _ in done:
            print(*[each.pid for each in active_children()], flush=True)

if __name__ == "__main__":
    main._run = bench
    main.main()
"""


def test_tasks_come_back_as_they_end_or_in_order() -> None:
    """With what came of them, each once; nothing is left running."""
    tasks = [4, 5, 3, 6]
    found = dict(spread(math.factorial, tasks, 2))
    assert found == {task: math.factorial(task) for task in tasks}
    pairs = list(spread(math.factorial, tasks, 2, in_order=True, tasks_each=1))
    assert pairs == [(task, math.factorial(task)) for task in tasks]
    assert list(spread(math.factorial, [], 2)) == []
    assert active_children() == []


def test_an_error_of_one_ends_all() -> None:
    """Nobody waits for the others."""
    with (
        pytest.raises(ValueError, match="negative"),
        closing(spread(math.factorial, [-1, 3], 2)) as found,
    ):
        list(found)
    assert active_children() == []


def test_whoever_stops_early_leaves_nothing_running() -> None:
    """Also where the reason is none of the processes' business."""
    with closing(spread(math.factorial, [3, 4, 5], 2)) as found:
        next(found)
        assert active_children()
    assert active_children() == []


def test_an_interruption_says_what_is_kept() -> None:
    """And how to go on."""
    said = pytest.raises(KeyboardInterrupt, match=r"kept in out/x; .* --resume goes on")
    with said, resumable(Path("out/x")):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        (signal.SIGINT, True),  # as a terminal sends it
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGKILL, False),
    ],
)
def test_nothing_outlives_a_bench_that_is_stopped(
    tmp_path: Path, number: signal.Signals, *, to_all: bool
) -> None:
    """It ends with one line and 130, without waiting for what is under way."""
    script = tmp_path / "bench.py"
    script.write_text(BENCH)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as bench:
        try:
            assert bench.stdout is not None and bench.stderr is not None
            pids = [int(word) for word in bench.stdout.readline().split()]
            assert len(pids) == 2
            (os.killpg if to_all else os.kill)(bench.pid, number)
            for pid in pids:
                ended(pid)
            code = bench.wait()
        finally:
            bench.kill()
        if number == signal.SIGKILL:
            assert code == -number
        else:
            assert code == 130
            said = "what is done is kept in there; the same command with --resume goes on"
            assert bench.stderr.read() == f"interrupted; {said}\n"
