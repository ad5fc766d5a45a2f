"""The parent's handle on one device process: start, control channel, end."""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from fate.domain.catalog import Device
from fate.engines.base import DeviceLostError, EngineError

#: A device process that is not up by then is not coming [s].
START_TIMEOUT_S = 30.0
#: How long a device process gets to leave on its own before it is killed [s].
QUIT_TIMEOUT_S = 2.0
#: Lines of the engine's log quoted in errors.
LOG_LINES = 3
#: How the engine marks errors in its log.
ERROR_MARK = " E "


class DeviceChild:
    """One running `fate.engines.llamacpp_device`.

    Requests may overlap; each gets the reply with its number. When the process ends, however,
    everything in flight raises `DeviceLostError`. The process ends with its stdin, so a killed
    parent leaves no orphan.
    """

    def __init__(self, device: Device, log: Path) -> None:
        self.device, self.log = device, log
        self.api_key = secrets.token_urlsafe(24)
        self.version = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ended = asyncio.Event()

    @property
    def lost(self) -> bool:
        """Whether the process has ended."""
        return self._ended.is_set()

    @property
    def pid(self) -> int:
        """Process id of the running device."""
        if self._process is None:
            raise DeviceLostError(f"device {self.device.id!r} is not started")
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the CPU time of the process, all its threads [s]; 0 where nobody can say."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
            user, system = stat.rpartition(")")[2].split()[11:13]
        except (OSError, ValueError):
            return 0.0
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    async def start(self) -> None:
        """Start the process and wait until it listens on its control channel."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fate.engines.llamacpp_device",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal goes to all of a group: it is for us
        )
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            hello = self._expect(0)
            self._write(
                {
                    "api_key": self.api_key,
                    "cores": list(self.device.cores),
                    "memory_bytes": self.device.memory_bytes,
                    "log": str(self.log),
                    "parent": os.getpid(),
                }
            )
            async with asyncio.timeout(START_TIMEOUT_S):
                self.version = (await hello)["version"]
        except BaseException:
            await self.kill()
            raise

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Send one request and return its reply; raise what the device process answered."""
        if self.lost:
            raise self.lost_error()
        number = next(self._numbers)
        reply = self._expect(number)
        logged = len(self._log_lines())
        self._write({"id": number, "op": op, **fields})
        body = await reply
        if not body["ok"]:
            lines = self._log_lines()[logged:]
            # The first line names the cause, those behind it who gave up because of it.
            said = _quoted([line for line in lines if ERROR_MARK in line][:LOG_LINES])
            raise EngineError(f"device {self.device.id!r}: {body['error']}{said}")
        return body

    async def ended_within(self, seconds: float) -> bool:
        """Whether the process ends within `seconds`: tells a lost device from a bad connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self.lost

    async def quit(self) -> None:
        """Ask the process to leave, kill it if it does not, and wait until it is gone."""
        if self._process is None:
            return
        if not self.lost:
            self._write({"op": "quit"})
        if not await self.ended_within(QUIT_TIMEOUT_S):
            await self.kill()
        await self._reap()

    async def kill(self) -> None:
        """Kill the process now and wait until it is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._reap()

    async def _reap(self) -> None:
        """Wait for the end of the process and of the task that reads from it."""
        assert self._process is not None and self._reader is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await self._reader

    def lost_error(self) -> DeviceLostError:
        """Describe how the process ended."""
        code = None if self._process is None else self._process.returncode
        return DeviceLostError(
            f"device {self.device.id!r}: its process ended (code {code}){self.log_tail()}"
        )

    def log_tail(self) -> str:
        """Return the last lines of the engine's log, on one line, to be appended to a message."""
        return _quoted(self._log_lines()[-LOG_LINES:])

    def _log_lines(self) -> list[str]:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def _expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        """Register interest in the reply with this number."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        return future

    def _write(self, body: dict[str, Any]) -> None:
        """Write one line; a broken pipe is noticed by the reader."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(body).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand replies to those who wait; at the end tell everybody that the device is lost."""
        assert process.stdout is not None
        async for line in process.stdout:
            body: dict[str, Any] = json.loads(line)
            future = self._pending.pop(body["id"], None)
            if future is not None and not future.done():
                future.set_result(body)
        await process.wait()
        self._ended.set()
        error = self.lost_error()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(error)
        self._pending.clear()


def _quoted(lines: list[str]) -> str:
    text = " | ".join(line.strip() for line in lines if line.strip())
    return f"; engine log: {text}" if text else ""
