"""Brings the compiled kernel and the solver up beside the first decisions."""

import atexit
import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

import fate
from fate.policy.base import Policy
from fate.policy.kernel import backend

#: What a plan would import where it first asks the solver: a second, with devices waiting for it.
_SOLVER = "ortools.sat.python.cp_model"


@dataclass(frozen=True, slots=True)
class _WarmUp:
    """A thread that brings a kernel up; `mark` is a file that is there once it was compiled."""

    thread: threading.Thread
    mark: Path


#: Warm-ups of this process.
_begun: list[_WarmUp] = []


def warming() -> bool:
    """Whether a kernel is being brought up: the interpreter must not be taken down under it.

    LLVM's own end would crash in the thread that compiles, and take the exit code along.
    """
    return any(each.thread.is_alive() for each in _begun)


def compiling() -> bool:
    """Whether a kernel is being compiled, not only loaded: what would have to be done again."""
    return any(each.thread.is_alive() and not each.mark.exists() for each in _begun)


def wait(tell: Callable[[str], object] | None = None) -> None:
    """Wait until none is; `tell` is given a line where that may take a minute."""
    if tell is not None and compiling():
        tell("compiling the planner's kernel, once: a minute or two; Ctrl-C skips it\n")
    for each in _begun:
        each.thread.join()


atexit.register(wait, sys.stderr.write)


def kernel_cache() -> Path:
    """Return where compiled kernels are kept: `$FATE_HOME/kernel`, or the user's cache."""
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else user_cache_path("fate")) / "kernel"


def start_warm_up(policy: Policy) -> threading.Thread | None:
    """Compile or load the kernel in a thread if the policy is one that searches.

    Both kernels answer alike to the last bit, so it does not matter when this one is ready.
    """
    if policy.inline:
        return None
    cache = kernel_cache()
    whole = policy.lookahead == "all"
    mark = cache / f"complete-{_digest()}{'-whole' if whole else ''}"
    thread = threading.Thread(
        target=_warm, args=(cache, mark, whole, _solves(policy)), name="warm-up", daemon=True
    )
    thread.start()
    _begun.append(_WarmUp(thread, mark))
    return thread


def _warm(cache: Path, mark: Path, whole: bool, solves: bool) -> None:
    if solves:
        with suppress(ImportError):
            importlib.import_module(_SOLVER)
    if backend.warm(str(cache), whole=whole) == "compiled":
        mark.touch()


def _solves(policy: Policy) -> bool:
    """Whether a policy asks the solver, by an option of that name."""
    return bool(getattr(getattr(policy, "options", None), "solver", False))


def _digest() -> str:
    """Return a digest of what a kernel is compiled from, or more: all of FATE, and by what."""
    known = hashlib.sha256(f"{sys.version} {version('numba')}".encode())
    for path in sorted(Path(fate.__file__).parent.rglob("*.py")):
        known.update(path.read_bytes())
    return known.hexdigest()[:12]
