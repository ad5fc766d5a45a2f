"""Work spread over processes that end with this one, however it ends."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def default_processes() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0))


def spread(
    work: Callable[[T], R],
    tasks: Sequence[T],
    processes: int,
    *,
    in_order: bool = False,
    tasks_each: int | None = None,
) -> Generator[tuple[T, R]]:
    """Yield each task with what came of it; close the generator to stop: nothing runs on then.

    Args:
        work: a function of a module, which spawned processes look up by name.
        tasks: what to do, in the order in which it is begun.
        processes: how many run at once.
        in_order: yield in the order of the tasks instead of as they end.
        tasks_each: after so many a process is replaced by a fresh one.

    Raises:
        Exception: what `work` raises.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        min(processes, max(len(tasks), 1)),
        mp_context=get_context("spawn"),
        initializer=_end_with_parent,
        max_tasks_per_child=tasks_each,
    )
    try:
        with _without_interrupts():
            futures: dict[Future[R], T] = {pool.submit(work, task): task for task in tasks}
        for future in futures if in_order else as_completed(futures):
            yield futures[future], future.result()
    except BaseException:  # whoever cuts this short does not wait for what is under way
        for process in set(active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def resumable(out: Path) -> Generator[None]:
    """An interruption says that rows are kept in a folder, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"what is done is kept in {out}; the same command with --resume goes on"
        raise KeyboardInterrupt(kept) from None


@contextmanager
def _without_interrupts() -> Generator[None]:
    """Processes started meanwhile never see Ctrl-C, which a terminal sends to all of a group.

    It is this process that ends them. What comes meanwhile arrives afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, even if that is killed."""
    threading.Thread(target=_sit, name="sitter", daemon=True).start()


def _sit() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
