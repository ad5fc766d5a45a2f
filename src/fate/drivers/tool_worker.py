"""The process in which own tools run: imports one module and calls its functions, one at a time.

Run as `python -m fate.drivers.tool_worker LIFE`; imports nothing of FATE. Requests come on stdin,
replies go to stdout, in frames: eight bytes of length, then the content. The first request says
which module; every further one is a call. A reply is `+` and JSON, or `-` and a JSON description
of what went wrong. User code sees neither pipe: its stdin is empty, and what it prints goes to the
stderr the process was started with.

`LIFE` is the descriptor of a pipe that ends when the parent does. A small process waits for that
and kills the whole process group, also when the interpreter is stuck inside a library.
"""

import faulthandler
import importlib
import inspect
import json
import os
import resource
import signal
import struct
import sys
import traceback
from types import ModuleType
from typing import IO, Any

LENGTH = struct.Struct(">Q")
OK, FAILED = b"+", b"-"
#: Innermost frames of an exception that are reported, and characters of its message.
FRAMES, MESSAGE = 8, 2000


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next frame; None when the stream has ended."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    size = LENGTH.unpack(head)[0]
    body = stream.read(size)
    return body if len(body) == size else None


def write_frame(stream: IO[bytes], kind: bytes, content: bytes) -> None:
    """Write one reply."""
    stream.write(LENGTH.pack(len(content) + 1) + kind + content)
    stream.flush()


def private_channels() -> tuple[IO[bytes], IO[bytes]]:
    """Take stdin and stdout for the protocol; prints go where errors go, stdin is empty."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    return requests, replies


def start_sitter(life: int) -> int:
    """Fork the process that ends this one's group with the parent; return its id."""
    child = os.fork()
    if child:
        os.close(life)
        return child
    nothing = os.open(os.devnull, os.O_RDWR)
    for held in (0, 1, 2):
        os.dup2(nothing, held)
    for held in range(3, 64):  # whoever waits for the end of a pipe must not wait for this process
        if held != life:
            try:
                os.close(held)
            except OSError:
                continue
    os.read(life, 1)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


def failure(kind: str, error: BaseException) -> bytes:
    """Describe an exception without the frames of this file."""
    # what the exception holds may be all the memory there is
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit[1], limit[1]))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")
    ]
    try:
        message = str(error)
    except Exception as other:  # noqa: BLE001 - a broken __str__ is the user's too
        message = f"(its text cannot be made: {type(other).__name__})"
    if isinstance(error, MemoryError):
        kind = "memory"
    facts = {
        "kind": kind,
        "type": type(error).__name__,
        "message": message[:MESSAGE],
        "frames": "".join(traceback.format_list(frames[-FRAMES:])).splitlines(),
    }
    return json.dumps(facts).encode()


def called(module: ModuleType, request: dict[str, Any]) -> tuple[bytes, bytes]:
    """Call a function; return the reply."""
    function = getattr(module, request["function"], None)
    if not callable(function):
        return FAILED, json.dumps({"kind": "missing"}).encode()
    try:
        value = function(**request["arguments"])
        if inspect.iscoroutine(value):
            asyncio = importlib.import_module("asyncio")  # most tools need not wait for it
            value = asyncio.run(value)
    except BaseException as error:  # noqa: BLE001 - reported as the stage's failure
        return FAILED, failure("raised", error)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError, MemoryError) as error:
        return FAILED, failure("not-json", error)
    if len(text) > request["max_output_bytes"]:
        return FAILED, json.dumps({"kind": "large", "bytes": len(text)}).encode()
    return OK, text


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Import the module, then answer calls until stdin ends or memory was short."""
    me, first = os.getpid(), read_frame(requests)
    if first is None:
        return
    config = json.loads(first)
    memory: int = config["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    sys.path[:], sys.argv = config["path"], [config["module"]]
    try:
        module = importlib.import_module(config["module"])
    except BaseException as error:  # noqa: BLE001 - reported as the stage's failure
        write_frame(replies, FAILED, failure("import", error))
        return
    write_frame(replies, OK, b"null")
    while (request := read_frame(requests)) is not None:
        kind, content = called(module, json.loads(request))
        if os.getpid() != me:
            os._exit(0)  # a forked child that came back out of the function
        sys.stdout.flush()
        sys.stderr.flush()
        write_frame(replies, kind, content)
        if b'"kind": "memory"' in content[:40]:
            return


def main() -> None:
    """Serve, and leave nothing behind."""
    requests, replies = private_channels()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sitter = start_sitter(int(sys.argv[1]))
    faulthandler.enable()  # a crash inside a library says where
    try:
        serve(requests, replies)
    finally:
        os.kill(sitter, signal.SIGKILL)
        os.waitpid(sitter, 0)


if __name__ == "__main__":
    main()
