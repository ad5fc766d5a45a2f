"""Own code that behaves badly in every way; `test_tool_pool.py` copies it into a folder."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def double(x: list[int]) -> list[int]:
    return x * 2


async def later(x: int) -> int:
    return x + 1


def pid() -> int:
    return os.getpid()


def explode(message: str) -> None:
    print("about to fail")
    print("on stderr", file=sys.stderr)
    inner(message)


def inner(message: str) -> None:
    raise RuntimeError(message)


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError


def odd_error() -> None:
    raise Odd


def leave(code: object = None) -> None:
    sys.exit(code)  # pyright: ignore[reportArgumentType]


def leave_hard() -> None:
    os._exit(7)


def killed(name: str) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), getattr(signal, name))


def hang(started: str = "") -> None:
    print("working on it")
    if started:
        Path(started).write_text("started\n")
    threading.Event().wait()


def hang_with_child(file: str) -> None:
    child = subprocess.Popen(["sleep", "1000"])
    Path(file).write_text(f"{os.getpid()} {child.pid}\n")
    threading.Event().wait()


def leave_child() -> int:
    return subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL).pid


def fork_twice() -> str:
    return "child" if os.fork() == 0 else "parent"


def die_with_child() -> None:
    subprocess.Popen(["sleep", "1000"])  # it holds this process's pipes
    os._exit(3)


def print_much(megabytes: int) -> int:
    for index in range(megabytes * 1024):
        print(f"{index:1023d}")
    os.write(1, b"raw\n")
    raise ValueError("after printing")


def large(size: int) -> str:
    return "x" * size


def eat(size: int) -> int:
    return len(bytearray(size))


def matrix() -> float:
    import numpy as np

    return float((np.ones((100, 100)) @ np.ones((100, 100)))[0, 0])


def odd(what: str) -> Any:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    values = {"set": {1}, "nan": float("nan"), "deep": deep, "surrogate": "\ud800", "bytes": b"x"}
    return values[what]


def read_input() -> str:
    return sys.stdin.read()


def scribble() -> None:
    for held in range(3, 20):
        try:
            os.write(held, b"z" * 64)
        except OSError:
            continue


def count(file: str) -> None:
    with Path(file).open("a") as out:
        out.write("ran\n")
    os.kill(os.getpid(), signal.SIGKILL)


def meet(here: str, there: str) -> bool:
    """Say so on one named pipe, wait for the same on another: nobody gets through alone."""
    mine, other = os.open(here, os.O_RDWR), os.open(there, os.O_RDWR)
    os.write(other, b"here")
    return os.read(mine, 4) == b"here"


not_callable = 3
