"""The parent's handle on one tool process: start, calls, what it printed, its end."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fate.drivers import tool_worker
from fate.drivers.tool_worker import LENGTH, OK
from fate.workflow.own_code import search_path

#: A module that is not imported by then is not coming [s].
IMPORT_S = 60.0
#: How long a process gets to leave on its own before it is killed [s].
QUIT_S = 1.0
#: What is kept of everything a process prints [B], and how much is read at once.
_PRINTED_BYTES, _READ_BYTES = 8192, 65536
#: Size of a failure's description, on top of what a result may have [B].
_DESCRIPTION_BYTES = 2**20

#: Set in tool processes, so that a script knows it is only being imported.
MARK = "FATE_TOOL_PROCESS"
#: Numeric libraries start a thread per core and reserve memory for each; devices have the cores.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

#: Frames of ours, and of the interpreter's start, in what it dumps when it crashes.
_OURS = (f'File "{tool_worker.__file__}"', 'File "<frozen runpy>"')


class ProcessEndedError(Exception):
    """A tool process ended, or broke the protocol, instead of answering; says how."""


@dataclass(frozen=True, slots=True)
class Home:
    """What one process is for: calls with another one need another process."""

    folder: Path
    module: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: the JSON text of a result, or what went wrong."""

    text: str = ""
    problem: Mapping[str, Any] | None = None


class ToolProcess:
    """One running `fate.drivers.tool_worker`, in a process group of its own.

    `life` is the read end of a pipe that ends with this process.
    """

    def __init__(self, home: Home, life: int) -> None:
        self.home, self._life = home, life
        self._process: asyncio.subprocess.Process | None = None
        self._printed = b""
        self._output = -1
        #: Whether it answered the last question and can be asked again.
        self.fit = False

    @property
    def pid(self) -> int:
        """Process id, and id of the process group."""
        return self._running.pid

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> Answer:
        """Start the process and have it import its module; the answer tells whether it could."""
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        asyncio.get_running_loop().add_reader(self._output, self._read_printed)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fate.drivers.tool_worker", str(self._life)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                pass_fds=(self._life,),
                start_new_session=True,
                env={**_THREADS, **os.environ, MARK: "1"},
            )
        finally:
            os.close(output)
        home = self.home
        config = {
            "module": home.module,
            "path": search_path(home.folder),
            "memory_bytes": home.memory_bytes,
        }
        async with asyncio.timeout(IMPORT_S):
            return await self.ask(config, 0)

    async def ask(self, request: Mapping[str, Any], limit_bytes: int) -> Answer:
        """Send one request and return the answer.

        Raises:
            ProcessEndedError: there will be no answer.
        """
        self.fit, self._printed = False, b""
        process, body = self._running, json.dumps(request).encode()
        assert process.stdin is not None
        ended = asyncio.ensure_future(process.wait())
        reply = asyncio.ensure_future(self._reply(limit_bytes))
        try:
            process.stdin.write(LENGTH.pack(len(body)) + body)
            await asyncio.wait({reply, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                self._kill_group()  # others may hold the pipe open
            answer = await reply
        finally:
            for task in (reply, ended):
                task.cancel()
            await asyncio.gather(reply, ended, return_exceptions=True)
        self.fit = answer.problem is None or answer.problem["kind"] not in ("memory", "import")
        return answer

    def printed(self) -> list[str]:
        """Return the last lines that the process printed since it was asked."""
        self._read_printed()
        lines = self._printed.decode(errors="replace").splitlines()
        return [line for line in lines if line.strip() and not any(own in line for own in _OURS)]

    async def kill(self) -> None:
        """End the process and everything it started, now."""
        self.fit = False
        self._kill_group()
        await self._reap()

    async def quit(self) -> None:
        """Let an idle process leave, kill it if it does not."""
        self.fit = False
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIT_S):
                    await self._process.wait()
        await self.kill()

    def _kill_group(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _reap(self) -> None:
        """Wait for the end and let go of the pipes."""
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.wait_closed()
            await process.wait()
        if self._output >= 0:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    async def _reply(self, limit_bytes: int) -> Answer:
        """Read one frame."""
        stream = self._running.stdout
        assert stream is not None
        try:
            (size,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
            if not 0 < size <= 1 + max(limit_bytes, _DESCRIPTION_BYTES):
                raise ProcessEndedError("wrote into the pipe that its result comes through")
            body = await stream.readexactly(size)
        except asyncio.IncompleteReadError:
            self._kill_group()  # with its replies closed it is of no use
            raise ProcessEndedError(how_it_ended(await self._running.wait())) from None
        if body[:1] == OK:
            return Answer(text=body[1:].decode())
        return Answer(problem=json.loads(body[1:]))

    def _read_printed(self) -> None:
        """Take what is there of the output; only its end is kept."""
        if self._output < 0:
            return
        with contextlib.suppress(BlockingIOError):
            for _ in range(16):
                read = os.read(self._output, _READ_BYTES)
                if not read:
                    asyncio.get_running_loop().remove_reader(self._output)
                    return
                self._printed = (self._printed + read)[-_PRINTED_BYTES:]


def how_it_ended(code: int) -> str:
    """Describe an exit code."""
    if code >= 0:
        return f"ended its process (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {
        "SIGKILL": ", perhaps by the system for want of memory",
        "SIGSEGV": ", a crash inside a library",
        "SIGABRT": ", given up by a library, often for want of memory",
    }
    return f"was killed by {name}{hint.get(name, '')}"
