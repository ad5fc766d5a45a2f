"""Own tools in their processes: results, limits, every way to fail, and nothing left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import ended, listening

from fate.drivers.tool_pool import ToolPool
from fate.workflow.own_code import OwnCall, ToolError

SOURCE = Path(__file__).parents[2] / "own_tools.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a module `own_tools`."""
    shutil.copy(SOURCE, tmp_path / "own_tools.py")
    return tmp_path


def call(folder: Path, function: str, arguments: dict[str, Any] | None = None, **other: Any) -> Any:
    """Return a call with generous limits."""
    given: dict[str, Any] = {
        "pure": True,
        "timeout_s": 30.0,
        "memory_bytes": 2**29,
        "max_output_bytes": 100_000,
        **other,
    }
    target = function if ":" in function else f"own_tools:{function}"
    return OwnCall(stage="s", target=target, folder=folder, arguments=arguments or {}, **given)


def gone(pid: int) -> bool:
    """Whether a process has ended; who reaps it is not our business."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def in_pool(work: Callable[[ToolPool], Coroutine[None, None, Any]], size: int = 4) -> Any:
    """Run something with a pool; afterwards none of its processes is left."""

    async def both() -> Any:
        async with ToolPool(size) as pool:
            found = await work(pool)
            pids = pool.pids
        assert all(gone(pid) for pid in pids)
        return found

    return asyncio.run(both())


def result(own: OwnCall) -> Any:
    """Return the value of one call."""
    return json.loads(in_pool(lambda pool: pool.run(own)))


def refusal(own: OwnCall) -> ToolError:
    """Return how one call fails; the pool answers the next one all the same."""

    async def work(pool: ToolPool) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await pool.run(own)
        if own.module == "own_tools":
            assert await pool.run(call(own.folder, "double", {"x": [1]})) == "[1, 1]"
        return caught.value

    return in_pool(work)


def test_values_go_in_and_come_back(folder: Path) -> None:
    """Arguments arrive as values; coroutine functions are awaited; stdin is empty."""
    assert result(call(folder, "double", {"x": [1]})) == [1, 1]
    assert result(call(folder, "later", {"x": 1})) == 2
    assert result(call(folder, "read_input")) == ""


def test_a_process_is_kept_and_reused_and_calls_run_side_by_side(folder: Path) -> None:
    """One after the other they share a process, at once they do not."""

    async def work(pool: ToolPool) -> None:
        first = await pool.run(call(folder, "pid"))
        assert await pool.run(call(folder, "pid")) == first
        one, other = (str(folder / name) for name in ("one", "other"))
        os.mkfifo(one)
        os.mkfifo(other)
        ways = [{"here": one, "there": other}, {"here": other, "there": one}]
        met = await asyncio.gather(*[pool.run(call(folder, "meet", way)) for way in ways])
        assert met == ["true", "true"] and len(pool.pids) == 2

    in_pool(work, size=2)


def test_no_more_processes_than_slots(folder: Path) -> None:
    """An idle process of another module makes room."""
    (folder / "other.py").write_text("def one():\n    return 1\n")

    async def work(pool: ToolPool) -> None:
        await asyncio.gather(*[pool.run(call(folder, "pid")) for _ in range(3)])
        assert len(pool.pids) <= 2
        assert await pool.run(call(folder, "other:one")) == "1"
        assert len(pool.pids) <= 2

    in_pool(work, size=2)


def test_modules_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    """Each folder has its own."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"def who():\n    return {name!r}\n")

    async def work(pool: ToolPool) -> list[str]:
        return [await pool.run(call(tmp_path / name, "mine:who")) for name in ("a", "b", "a")]

    assert in_pool(work) == ['"a"', '"b"', '"a"']


@pytest.mark.parametrize(
    ("function", "arguments", "what"),
    [
        ("leave", {"code": 3}, "own_tools:leave raised SystemExit: 3"),
        ("odd_error", {}, "raised Odd: (its text cannot be made: ValueError)"),
        ("large", {"size": 200_000}, "returned 200002 bytes, over the limit of 100000"),
        ("large", {"size": 100 * 2**20}, "returned 104857602 bytes, over the limit of 100000"),
        ("odd", {"what": "set"}, "the result is not JSON-like: TypeError: Object of type set"),
        ("odd", {"what": "nan"}, "the result is not JSON-like: ValueError"),
        ("odd", {"what": "deep"}, "the result is not JSON-like: RecursionError"),
        ("odd", {"what": "surrogate"}, "the result is not JSON-like: UnicodeEncodeError"),
        ("double", {"y": 1}, "raised TypeError: double() got an unexpected keyword"),
        ("none", {}, "module 'own_tools' has no function 'none'"),
        ("not_callable", {}, "module 'own_tools' has no function 'not_callable'"),
        ("eat", {"size": 2**30}, "own_tools:eat needs more memory than its limit of 512 MiB"),
        ("no_such_module:f", {}, "cannot import 'no_such_module': ModuleNotFoundError"),
    ],
)
def test_failures_that_must_repeat(
    folder: Path, function: str, arguments: dict[str, Any], what: str
) -> None:
    """One line that names the stage, the function and the reason; a retry would be the same."""
    error = refusal(call(folder, function, arguments))
    line = str(error).splitlines()[0]
    assert line.startswith("stage 's': ") and what in line, line
    assert not error.retryable


@pytest.mark.parametrize(
    ("function", "arguments", "what"),
    [
        ("leave_hard", {}, "own_tools:leave_hard ended its process (exit code 7)"),
        ("killed", {"name": "SIGSEGV"}, "was killed by SIGSEGV, a crash inside a library"),
        ("killed", {"name": "SIGKILL"}, "was killed by SIGKILL, perhaps by the system"),
        ("die_with_child", {}, "ended its process (exit code 3)"),
        ("scribble", {}, "wrote into the pipe that its result comes through"),
    ],
)
def test_a_lost_process_is_replaced_and_what_is_pure_may_run_again(
    folder: Path, function: str, arguments: dict[str, Any], what: str
) -> None:
    """Who is not pure says why not."""
    error = refusal(call(folder, function, arguments))
    assert what in str(error).splitlines()[0] and error.retryable
    error = refusal(call(folder, function, arguments, pure=False))
    assert not error.retryable
    assert str(error).endswith("so it is not run again (pure: false)")


def test_an_exception_brings_its_traceback_and_what_was_printed(folder: Path) -> None:
    """The user's own lines, and none of ours."""
    lines = str(refusal(call(folder, "explode", {"message": "boom"}))).splitlines()
    assert lines[0] == "stage 's': own_tools:explode raised RuntimeError: boom"
    assert any(f'"{folder}/own_tools.py", line' in line and "in inner" in line for line in lines)
    assert any("raise RuntimeError(message)" in line for line in lines)
    assert not any("tool_worker" in line for line in lines)
    assert lines[-3:] == ["  it printed last:", "    about to fail", "    on stderr"]


def test_a_crash_says_where(folder: Path) -> None:
    """What was printed before the end, and the interpreter's own dump."""
    text = str(refusal(call(folder, "killed", {"name": "SIGSEGV"})))
    assert "in killed" in text


def test_megabytes_of_output_do_no_harm(folder: Path) -> None:
    """Only the last lines are kept; neither prints nor raw writes reach the protocol."""
    error = str(refusal(call(folder, "print_much", {"megabytes": 20})))
    assert "raised ValueError: after printing" in error and error.endswith("    raw")
    assert len(error) < 5000


def test_what_hangs_is_killed_with_all_it_started(folder: Path) -> None:
    """At the time-out, and when the call is cancelled."""
    error = refusal(call(folder, "hang", timeout_s=0.3))
    assert "did not return within 0.3 s and was killed; raise timeout_s" in str(error)
    assert "working on it" in str(error) and not error.retryable
    file = folder / "pids"

    async def work(pool: ToolPool) -> None:
        with listening(file) as line:
            own = call(folder, "hang_with_child", {"file": str(file)})
            task = asyncio.create_task(pool.run(own))
            tool, child = [int(each) for each in (await asyncio.to_thread(line)).split()]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(tool) and not pool.pids
        await asyncio.to_thread(ended, child)

    in_pool(work)


def test_children_do_not_outlive_the_pool(folder: Path) -> None:
    """Those of a call that succeeded, too."""
    ended(result(call(folder, "leave_child")))


def test_a_fork_that_comes_back_answers_once(folder: Path) -> None:
    """The child's answer is not taken for the next call's."""

    async def work(pool: ToolPool) -> None:
        assert await pool.run(call(folder, "fork_twice")) == '"parent"'
        assert await pool.run(call(folder, "double", {"x": [1]})) == "[1, 1]"

    in_pool(work)


def test_numpy_fits_into_little_memory(folder: Path) -> None:
    """The limit counts what a process has for itself, not what it maps."""
    assert result(call(folder, "matrix", memory_bytes=192 * 2**20)) == 100.0


def test_a_broken_module_is_shown_with_its_line(tmp_path: Path) -> None:
    """Importing runs own code like any other."""
    (tmp_path / "broken.py").write_text("print('hello')\nx = 1 / 0\n")
    error = str(refusal(call(tmp_path, "broken:f")))
    assert "cannot import 'broken': ZeroDivisionError: division by zero" in error
    assert 'broken.py", line 2' in error and "hello" in error


def test_waiting_for_a_slot_can_be_cancelled(folder: Path) -> None:
    """Who is cancelled in the queue leaves it."""

    async def work(pool: ToolPool) -> None:
        started = folder / "started"
        with listening(started) as line:
            first = asyncio.create_task(pool.run(call(folder, "hang", {"started": str(started)})))
            second = asyncio.create_task(pool.run(call(folder, "pid")))
            await asyncio.to_thread(line)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert first.cancelled() and second.cancelled()
        assert await pool.run(call(folder, "double", {"x": []})) == "[]"

    in_pool(work, size=1)


#: Shells start background jobs with SIGINT ignored, and children inherit that; whoever is pressed
#: Ctrl-C at does not ignore it. The tool's own time-out must not be what ends it.
PARENT = """
import asyncio, signal, sys
from pathlib import Path
from fate.drivers.tool_pool import ToolPool
from fate.workflow.own_code import OwnCall

async def main():
    own = OwnCall(stage="s", target="own_tools:hang_with_child", folder=Path(sys.argv[1]),
        arguments={"file": sys.argv[2]}, pure=True, timeout_s=600, memory_bytes=2**29,
        max_output_bytes=100)
    async with ToolPool() as pool:
        await pool.run(own)

signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


@contextmanager
def parent(folder: Path) -> Generator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """Run a process that waits for a tool that waits for its child; yield it and their ids."""
    file = folder / "pids"
    with listening(file) as line:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(folder), str(file)], stderr=subprocess.DEVNULL
        )
        try:
            yield process, [int(each) for each in line().split()]
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_a_killed_parent(folder: Path, number: signal.Signals) -> None:
    """Neither the tool's process nor what it has started."""
    with parent(folder) as (process, pids):
        assert not any(gone(pid) for pid in pids)
        os.kill(process.pid, number)
        for pid in pids:
            ended(pid)
