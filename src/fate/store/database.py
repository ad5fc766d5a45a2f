"""One SQLite file per run: how it is created, opened and checked."""

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from fate.domain.errors import FateError

#: Version of the tables below; a file of another version is refused, never guessed at.
SCHEMA = 4

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE record (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE output (
    instance TEXT NOT NULL,
    item INTEGER NOT NULL,
    text TEXT NOT NULL,
    meta BLOB NOT NULL,
    PRIMARY KEY (instance, item)
) WITHOUT ROWID;
"""


class StoreError(FateError):
    """A run cannot be found, read or written."""

    code = "store"


def create(path: Path, meta: Iterable[tuple[str, bytes]]) -> None:
    """Create a run file that only its owner can read; it is there whole, and durable, or not.

    Raises:
        StoreError: the file exists already, or cannot be created.
    """
    draft = path.with_name(f"{path.name}.new")
    try:
        if path.exists():
            raise FileExistsError
        draft.unlink(missing_ok=True)
        # SQLite gives its -wal and -shm files the mode of the database: set it before they exist.
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _fill(draft, meta)
        draft.rename(path)
        _sync(path.parent)
    except FileExistsError:
        raise StoreError(f"{path}: a run is stored there already; choose another file") from None
    except (OSError, sqlite3.OperationalError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        draft.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot create the run file: {why}") from None


def _fill(path: Path, meta: Iterable[tuple[str, bytes]]) -> None:
    connection = _connect(path)
    try:
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        connection.commit()
    finally:
        connection.close()  # the last connection's end moves everything into the file and syncs it


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing run file.

    Raises:
        StoreError: there is no such file, or it is not a run of this format.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such run file")
    connection = _connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise StoreError(f"{path}: not a run file (not an SQLite database)") from None
    if version != SCHEMA:
        connection.close()
        older = 0 < version < SCHEMA
        wrote = "an older" if older else "another"
        raise StoreError(
            f"{path}: run format {version}, this version of fate reads {SCHEMA}; it was written by "
            f"{wrote} version of fate: use that one to look at it, or run the workflow again"
        )
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    # Tools read outputs from worker threads while the loop writes: SQLite is built serialised,
    # so one connection (and one transaction) may be shared.
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # With WAL, NORMAL survives a crash of this process; a power cut may lose the last
        # commits but never corrupts. A sync for every commit would cost milliseconds each.
        connection.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint syncs twice: every 16 MiB instead of every four.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except sqlite3.DatabaseError:
        connection.close()
        raise StoreError(f"{path}: not a run file (not an SQLite database)") from None
    return connection


class Disk:
    """A run file's disk: `with` it, a write that fails is a `StoreError`, as is each one after it.

    SQLite may have rolled back what was not committed yet, so going on could leave events without
    their outputs. What was committed before is safe.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.failed = path, ""

    def __enter__(self) -> None:
        if self.failed:
            raise StoreError(self.failed)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            self.failed = (
                f"{self._path}: cannot be written: {error}. What was finished before is kept: free "
                f"some space, then `fate resume {self._path.parent.name}`"
            )
            raise StoreError(self.failed) from None
