"""Who writes a run: a lock that the kernel lets go of when its process ends, however that is."""

import fcntl
import os
import time
from pathlib import Path

from fate.store.database import StoreError

#: Somebody who only asks holds the lock for an instant: try again this often, this far apart [s].
_TRIES, _PAUSE_S = 5, 0.02


def lock_file(run_file: Path) -> Path:
    """Return the file whose lock the writer of a run holds; it has the writer's process id."""
    return run_file.with_name(f"{run_file.name}.lock")


def acquire(run_file: Path) -> int:
    """Become the one process that writes a run; return the descriptor that `release` takes.

    Raises:
        StoreError: another process writes it, or the lock file cannot be made.
    """
    path = lock_file(run_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot lock the run: {error.strerror}") from None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        if _lock(descriptor, fcntl.LOCK_EX):
            _sign(descriptor, path)
            return descriptor
    os.close(descriptor)
    raise StoreError(
        f"{run_file.parent.name}: this run is going on in process {owner(run_file)}; "
        f"wait for its end, or stop it first"
    )


def _sign(descriptor: int, path: Path) -> None:
    """Write down who holds the lock."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{path}: cannot lock the run: {error.strerror}") from None


def release(descriptor: int) -> None:
    """Let others write the run."""
    os.close(descriptor)


def is_held(run_file: Path) -> bool:
    """Whether some process writes the run now."""
    try:
        descriptor = os.open(lock_file(run_file), os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def owner(run_file: Path) -> str:
    """Return the process id of the writer; `?` where that is not known."""
    try:
        return lock_file(run_file).read_text().strip() or "?"
    except OSError:
        return "?"


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
