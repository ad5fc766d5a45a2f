"""Where runs are kept: one directory each, found again by id, prefix, path or `last`."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import platformdirs

from fate.store import lock
from fate.store.database import StoreError
from fate.store.glance import Glance
from fate.store.journal import Journal

#: Name of the run file inside a run's directory.
RUN_FILE = "run.sqlite"


def default_root() -> Path:
    """Return where runs are kept: `$FATE_HOME/runs`, or the user's data directory."""
    home = os.environ.get("FATE_HOME")
    return (Path(home) if home else platformdirs.user_data_path("fate")) / "runs"


#: `interrupted`: nobody writes it and it has not ended. `unreadable`: of another format, or broken.
RunStatus: TypeAlias = Literal["running", "interrupted", "ok", "failed", "cancelled", "unreadable"]


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a list shows it; `problem` says why nothing more is known of an unreadable one.

    `makespan_s` is when its last workflow ended, on the run's own clock [s]; None while any runs.
    """

    id: str
    status: RunStatus
    created_at: str = ""
    workflow: str = ""
    policy: str = ""
    simulated: bool = False
    resumable: bool = False
    items: int = 0
    items_done: int = 0
    interruptions: int = 0
    makespan_s: float | None = None
    size_bytes: int = 0
    problem: str = ""


def describe(path: Path) -> RunInfo:
    """Return what a list shows of the run in a run file; never raises for a broken one."""
    name, size_bytes = path.parent.name, _size(path.parent)
    try:
        with Journal.open(path) as journal:
            header, end = journal.header, journal.end
            seen = journal.glance() if end is None else end.glance
            resumable = bool(journal.job) and not header.simulated
    except (StoreError, msgspec.MsgspecError) as error:
        return RunInfo(id=name, status="unreadable", problem=str(error), size_bytes=size_bytes)
    status: RunStatus = end.status if end is not None else "interrupted"
    if lock.is_held(path):
        status = "running"
    return RunInfo(
        id=name,
        status=status,
        created_at=header.created_at,
        workflow=header.workflow,
        policy=header.policy,
        simulated=header.simulated,
        resumable=resumable and status not in ("ok", "running"),
        items=max(seen.items, seen.items_done),
        items_done=seen.items_done,
        interruptions=seen.interruptions,
        makespan_s=_makespan_s(seen) if end is not None else None,
        size_bytes=size_bytes,
    )


def _makespan_s(seen: Glance) -> float:
    return seen.last_s if seen.end_s is None else seen.end_s


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class RunStore:
    """The run directories under one root."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()

    def new(self, now: datetime | None = None) -> Path:
        """Create a run directory, named after the time, and return it.

        The name is the run's id. Names sort by time; two runs that begin in the same millisecond,
        in whatever processes, get different ones.
        """
        at = now if now is not None else datetime.now(UTC)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                path = self.root / f"{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"
                try:
                    path.mkdir(mode=0o700)
                except FileExistsError:
                    at += timedelta(milliseconds=1)
                else:
                    return path
        except OSError as error:
            raise StoreError(f"{self.root}: cannot create a run: {error.strerror}") from None

    def list(self) -> list[Path]:
        """Return the run directories that hold a run file, newest first."""
        if not self.root.is_dir():
            return []
        found = [path for path in self.root.iterdir() if (path / RUN_FILE).is_file()]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def find(self, what: str) -> Path:
        """Return the run file meant by `last`, a run's id or the start of one, or a path.

        Raises:
            StoreError: no run is meant, or several are.
        """
        path = Path(what)
        if path.is_file():
            return path
        if (path / RUN_FILE).is_file():
            return path / RUN_FILE
        runs = self.list()
        if what == "last" and runs:
            return runs[0] / RUN_FILE
        matches = [run for run in runs if run.name.startswith(what)]
        if len(matches) == 1:
            return matches[0] / RUN_FILE
        if matches:
            names = ", ".join(run.name for run in matches[:3])
            raise StoreError(f"run {what!r} means any of {len(matches)} runs ({names}, ...)")
        known = f"the newest is {runs[0].name}" if runs else "there are none yet"
        raise StoreError(f"no run {what!r} in {self.root}: {known}")

    def remove(self, run: Path) -> None:
        """Delete a run's directory, unless some process writes it.

        Raises:
            StoreError: it is running, or it cannot be deleted.
        """
        held = lock.acquire(run / RUN_FILE)
        try:
            shutil.rmtree(run)
        except OSError as error:
            raise StoreError(f"{run}: cannot be deleted: {error.strerror}") from None
        finally:
            lock.release(held)
