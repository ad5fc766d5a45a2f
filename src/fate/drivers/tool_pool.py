"""Own tools: a pool of processes, kept warm from call to call, replaced when they break."""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Generator, Mapping
from typing import Any, Self

from fate.drivers.tool_process import IMPORT_S, Answer, Home, ProcessEndedError, ToolProcess
from fate.workflow.own_code import OwnCall, ToolError

#: Printed lines that an error quotes, and characters of each.
_LINES, _LINE_CHARACTERS = 8, 200


class ToolPool:
    """Runs calls of own code, each in a process that has the call's module imported.

    At most `size` processes are kept, and that many calls run side by side. Nothing is started
    before the first call; `close` ends everything, and so does the end of this process, however it
    comes. Cancelling a call kills its process.
    """

    def __init__(self, size: int = 4) -> None:
        self._slots = asyncio.Semaphore(size)
        self._size = size
        #: Idle processes, the one used last at the end.
        self._idle: list[ToolProcess] = []
        self._busy: list[ToolProcess] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._life: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End every process."""
        await self.close()

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that are there."""
        return [each.pid for each in [*self._idle, *self._busy]]

    async def run(self, call: OwnCall) -> str:
        """Return the result of a call as JSON text.

        Raises:
            ToolError: it failed; the message names the stage, the function and the reason.
        """
        async with self._slots:
            process = self._take(Home(call.folder, call.module, call.memory_bytes))
            try:
                return await self._run(call, process)
            finally:
                self._busy.remove(process)
                if process.fit:
                    self._idle.append(process)
                else:
                    await asyncio.shield(self._end(process.kill()))

    async def close(self) -> None:
        """End every process; returns when they are gone."""
        idle, self._idle = self._idle, []
        for process in idle:
            self._end(process.quit())
        for process in self._busy:
            self._end(process.kill())
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._life is not None:
            for end in self._life:
                os.close(end)
            self._life = None

    def _take(self, home: Home) -> ToolProcess:
        """Return an idle process for a home, or one that is to be started."""
        found = next((each for each in reversed(self._idle) if each.home == home), None)
        if found is not None:
            self._idle.remove(found)
        else:
            if len(self._idle) + len(self._busy) >= self._size:
                self._end(self._idle.pop(0).quit())
            if self._life is None:
                self._life = os.pipe()
            found = ToolProcess(home, self._life[0])
        self._busy.append(found)
        return found

    def _end(self, ending: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _run(self, call: OwnCall, process: ToolProcess) -> str:
        try:
            if not process.fit:
                with _within(call, process, f"importing {call.module!r} took over {IMPORT_S:g} s"):
                    started = await process.start()
                _refuse(call, started, process)
            request = {
                "function": call.function,
                "arguments": call.arguments,
                "max_output_bytes": call.max_output_bytes,
            }
            late = f"{call.target} did not return within {call.timeout_s:g} s and was killed"
            with _within(call, process, f"{late}; raise timeout_s or do less"):
                async with asyncio.timeout(call.timeout_s):
                    answer = await process.ask(request, call.max_output_bytes)
        except ProcessEndedError as error:
            # the same arguments may fare better in a fresh process, if a second run does no harm
            raise tool_error(
                call, f"{call.target} {error}", printed=process.printed(), retryable=call.pure
            ) from None
        _refuse(call, answer, process)
        return answer.text


@contextlib.contextmanager
def _within(call: OwnCall, process: ToolProcess, late: str) -> Generator[None]:
    try:
        yield
    except TimeoutError:
        raise tool_error(call, late, printed=process.printed()) from None


def _refuse(call: OwnCall, answer: Answer, process: ToolProcess) -> None:
    """Raise what an answer says went wrong, if anything did."""
    problem = answer.problem
    if problem is None:
        return
    frames: list[str] = problem.get("frames", [])
    raise tool_error(call, _what(call, problem), frames=frames, printed=process.printed())


def _what(call: OwnCall, problem: Mapping[str, Any]) -> str:
    kind = problem["kind"]
    reason = ": ".join(str(problem[key]) for key in ("type", "message") if problem.get(key))
    match kind:
        case "missing":
            return f"module {call.module!r} has no function {call.function!r}"
        case "import":
            return f"cannot import {call.module!r}: {reason}"
        case "memory":
            limit = f"{call.memory_bytes / 2**20:.0f} MiB"
            return f"{call.target} needs more memory than its limit of {limit}; raise memory"
        case "not-json":
            return (
                f"{call.target}: the result is not JSON-like: {reason}; return text, numbers, "
                "lists, dicts"
            )
        case "large":
            return (
                f"{call.target} returned {problem['bytes']} bytes, over the limit of "
                f"{call.max_output_bytes}; return less, or raise max_output_bytes"
            )
        case _:
            return f"{call.target} raised {reason}"


def tool_error(
    call: OwnCall,
    what: str,
    *,
    frames: list[str] | None = None,
    printed: list[str] | None = None,
    retryable: bool = False,
) -> ToolError:
    """Return an error: one line, then where it happened and what was printed last."""
    lines = [f"stage {call.stage!r}: {what}", *(frames or [])]
    if printed:
        lines.append("  it printed last:")
        lines += [f"    {line[:_LINE_CHARACTERS]}" for line in printed[-_LINES:]]
    if not call.pure:
        lines.append("  it may have had effects, so it is not run again (pure: false)")
    return ToolError("\n".join(lines), retryable=retryable)
