"""Brings the compiled kernel up beside the first decisions, which the reference takes."""

import atexit
import os
import threading
from pathlib import Path

from platformdirs import user_cache_path

from fate.policy.base import Policy
from fate.policy.kernel import backend

#: Warm-ups of this process.
_threads: list[threading.Thread] = []


def warming() -> bool:
    """Whether a kernel is being compiled: the interpreter must not be taken down under it.

    LLVM's own end would crash in the thread that compiles, and take the exit code along.
    """
    return any(thread.is_alive() for thread in _threads)


@atexit.register
def wait() -> None:
    """Wait until none is."""
    for thread in _threads:
        thread.join()


def start_warm_up(policy: Policy) -> threading.Thread | None:
    """Compile or load the kernel in a thread if the policy is one that searches.

    Both kernels answer alike to the last bit, so it does not matter when this one is ready.
    """
    if policy.inline:
        return None
    home = os.environ.get("FATE_HOME")
    cache = (Path(home) if home else user_cache_path("fate")) / "kernel"
    thread = threading.Thread(
        target=backend.warm,
        args=(str(cache),),
        kwargs={"whole": policy.lookahead == "all"},
        name="warm-up",
        daemon=True,
    )
    thread.start()
    _threads.append(thread)
    return thread
