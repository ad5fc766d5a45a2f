"""A headless Chromium driven through its DevTools protocol: pages, real input, screenshots."""

import asyncio
import base64
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import aiohttp
import msgspec

from fate.domain.errors import FateError

#: What the program may be called.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
)
#: How long the browser may take to start, and any command to answer [s].
_START_S, _ANSWER_S = 40.0, 60.0


class BrowserError(FateError):
    """There is no Chromium, or it does not do what it is asked."""

    code = "browser"


def chromium_path() -> str:
    """Return the path of an installed Chromium or Chrome.

    Raises:
        BrowserError: there is none.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise BrowserError(
        "no Chromium found; install one (on Debian `apt-get install chromium`) or put it into "
        "PATH as `chromium`"
    )


class Page:
    """One tab. `problems` gathers console errors and uncaught exceptions, `requests` addresses."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._socket = socket
        self._last = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            BrowserError: it failed, or did not answer in time.
        """
        self._last += 1
        number = self._last
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_str(msgspec.json.encode(message).decode())
        try:
            found = await asyncio.wait_for(answer, _ANSWER_S)
        except TimeoutError:
            raise BrowserError(f"Chromium did not answer {method} in {_ANSWER_S:.0f} s") from None
        if "error" in found:
            raise BrowserError(f"Chromium: {method}: {found['error'].get('message')}")
        return found.get("result", {})

    async def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=address)
        await asyncio.wait_for(self._loaded.wait(), _ANSWER_S)

    async def run(self, script: str) -> Any:  # noqa: ANN401  # whatever the page answers
        """Return the value of an expression; a promise is waited for.

        Raises:
            BrowserError: it throws.
        """
        found = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise BrowserError(f"script: {_thrown(found['exceptionDetails'])}")
        return found["result"].get("value")

    async def size(self, width: int, height: int, *, touch: bool = False) -> None:
        """Set the size of the window; `touch` makes it a telephone's."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        await self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    async def scheme(self, name: Literal["light", "dark"]) -> None:
        """Let the system prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": name}
        await self.send("Emulation.setEmulatedMedia", features=[feature])

    async def mouse(self, kind: str, x: float, y: float, **params: object) -> None:
        """Send one event of the mouse: `mouseMoved`, `mousePressed`, `mouseReleased`."""
        await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **params)

    async def click(self, x: float, y: float) -> None:
        """Move to a point and click it."""
        await self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            await self.mouse(kind, x, y, button="left", clickCount=1)

    async def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Press at the first point, move over the others, let go at the last one."""
        await self.mouse("mouseMoved", *points[0])
        await self.mouse("mousePressed", *points[0], button="left", clickCount=1)
        for x, y in points[1:]:
            await self.mouse("mouseMoved", x, y, button="left", buttons=1)
        await self.mouse("mouseReleased", *points[-1], button="left", clickCount=1)

    async def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the wheel over a point; positive is towards the user."""
        await self.mouse("mouseWheel", x, y, deltaX=0, deltaY=by)

    async def key(self, key: str) -> None:
        """Press and release a key, by its name in the DOM."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def screenshot(self) -> bytes:
        """Return what is seen as PNG."""
        found = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(found["data"])

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            found = cast("dict[str, Any]", msgspec.json.decode(message.data))
            if (number := found.get("id")) is not None:
                answer = self._answers.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(found)
            else:
                self._event(found["method"], found.get("params", {}))

    def _event(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Runtime.exceptionThrown":
                self.problems.append(_thrown(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.problems.append(str([one.get("value") for one in params["args"]]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case _:
                pass


@asynccontextmanager
async def browser(*, width: int = 1280, height: int = 800) -> AsyncGenerator[Page]:
    """Start a Chromium of its own and yield a page; it ends with the context.

    Raises:
        BrowserError: there is none, or it does not start.
    """
    program = chromium_path()
    with tempfile.TemporaryDirectory(prefix="fate-chromium-", ignore_cleanup_errors=True) as home:
        command = [program, *_FLAGS, f"--user-data-dir={home}", "about:blank"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            address = await _address(Path(home), process)
            async with aiohttp.ClientSession() as session, _page(session, address) as page:
                await page.size(width, height)
                yield page
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    """End the browser, kindly at first."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _page(session: aiohttp.ClientSession, address: str) -> AsyncGenerator[Page]:
    async with session.get(f"http://{address}/json/list") as answer:
        tabs = msgspec.json.decode(await answer.read())
    tab = next(tab for tab in tabs if tab["type"] == "page")
    async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
        page = Page(socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.send(f"{domain}.enable")
        yield page


async def _address(home: Path, process: Process) -> str:
    """Return host and port, which the browser writes into its folder once it listens."""
    written = home / "DevToolsActivePort"
    for _ in range(int(_START_S / 0.1)):
        if process.returncode is not None:
            raise BrowserError(f"Chromium ended at once with code {process.returncode}")
        lines = written.read_text().splitlines() if written.exists() else []
        if lines:
            return f"127.0.0.1:{lines[0]}"
        await asyncio.sleep(0.1)
    raise BrowserError(f"Chromium did not start in {_START_S:.0f} s")


def _thrown(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details.get("text"))
