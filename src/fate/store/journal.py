"""The journal: a run's header and its decision log, record by record."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fate.core.options import SchedulerOptions
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.messages import Record, WorkflowStatus
from fate.store import database, lock
from fate.store.bodies import packed, unpacked
from fate.store.database import StoreError
from fate.store.glance import Glance, glance
from fate.store.outputs import Outputs


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's records depend on, and what they are worth: enough to replay and to report.

    Attributes:
        run: the run's id.
        created_at: ISO 8601 time at which the run began.
        simulated: no model ran; times are virtual.
        policy, policy_options: the policy and how it was built.
        seed: seeds every random draw of the run.
        profile: costs known before the run measured anything.
        predicted_makespan_s: prediction made with the first plan [s].
        engines: name, version and model digests of every device's engine.
        workflow: file or name of what ran.
        version: version of fate that wrote the journal.
    """

    format: int = 1
    run: str
    created_at: str
    simulated: bool
    policy: str
    policy_options: dict[str, Any] = {}
    seed: int = 0
    cluster: Cluster
    options: SchedulerOptions
    profile: Profile
    predicted_makespan_s: float | None = None
    engines: tuple[dict[str, Any], ...] = ()
    workflow: str = ""
    version: str = ""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and how far it came: what a list of runs shows without reading records."""

    status: WorkflowStatus
    glance: Glance


class Journal:
    """A run's records in one SQLite file, which also holds its outputs.

    `append` and `outputs.put` join one transaction that `commit` ends: after a crash either both
    an event and the output it names are there, or neither is. Closing commits.

    One process at a time writes a run, the one that made it with `create` or `go_on`; `open` is
    for reading, also while another process writes.
    """

    def __init__(self, path: Path, held: int | None = None) -> None:
        self.path, self._held = path, held
        self._connection = database.connect(path)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Record)
        self._pending: list[tuple[bytes]] = []
        self.outputs = Outputs(path, self._connection)

    @classmethod
    def create(cls, path: Path, header: Header, job: bytes = b"") -> "Journal":
        """Create the run file with its header and job; both are on the disk on return.

        `job` is all that another process needs to go on, as `fate.jobs` packs it.
        """
        held = lock.acquire(path)
        try:
            meta = [("header", msgspec.json.encode(header)), *([("job", job)] if job else [])]
            database.create(path, meta)
            return cls(path, held)
        except StoreError:
            lock.release(held)
            raise

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open an existing run file to read it."""
        return cls(path)

    @classmethod
    def go_on(cls, path: Path) -> "Journal":
        """Open an existing run file to continue it.

        Raises:
            StoreError: another process writes it, or it cannot be read.
        """
        held = lock.acquire(path)
        try:
            return cls(path, held)
        except StoreError:
            lock.release(held)
            raise

    @property
    def header(self) -> Header:
        """The run's header."""
        body = self._meta("header")
        if body is None:
            raise StoreError(f"{self.path}: the run has no header; it was never started")
        try:
            return msgspec.json.decode(body, type=Header)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self.path}: the header cannot be read: {error}") from None

    @property
    def job(self) -> bytes:
        """What the run needs to go on in another process; empty where it was never stored."""
        return self._meta("job") or b""

    @property
    def end(self) -> End | None:
        """How the run ended; None while it runs, or when it was killed."""
        body = self._meta("end")
        return None if body is None else msgspec.json.decode(body, type=End)

    def glance(self) -> Glance:
        """Return how far the run came, by its last commit."""
        return glance(self._connection, simulated=self.header.simulated)

    def append(self, record: Record) -> None:
        """Add a record to the open transaction."""
        self._pending.append((packed(self._encoder.encode(record)),))

    def commit(self) -> None:
        """Make everything appended and put since the last commit durable."""
        with self.outputs.disk:
            self._write_pending()
            self._connection.commit()

    def records(self) -> Iterator[Record]:
        """Yield the records in the order they were appended."""
        self._write_pending()
        rows = self._connection.execute("SELECT number, body FROM record ORDER BY number")
        for number, body in rows:
            try:
                yield self._decoder.decode(unpacked(body))
            except (ValueError, msgspec.MsgspecError) as error:
                raise StoreError(f"{self.path}: record {number} cannot be read: {error}") from None

    def set_prediction(self, makespan_s: float) -> None:
        """Write the makespan predicted with the first plan into the header [s]."""
        header = msgspec.structs.replace(self.header, predicted_makespan_s=makespan_s)
        self._set_meta("header", msgspec.json.encode(header))

    def sync(self) -> None:
        """Commit, and wait until the disk has it: it outlasts a power cut too."""
        self.commit()
        descriptor = os.open(self.path.with_name(f"{self.path.name}-wal"), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def set_end(self, status: WorkflowStatus) -> None:
        """Write how the run ended, and commit."""
        self.commit()
        self._set_meta("end", msgspec.json.encode(End(status=status, glance=self.glance())))
        self.commit()

    def reopen(self) -> None:
        """Take back how the run ended, with the next commit: it goes on."""
        self._connection.execute("DELETE FROM meta WHERE key = 'end'")

    def close(self) -> None:
        """Commit and close, and let others write the run; idempotent."""
        if not self.outputs.disk.failed:
            self._write_pending()
        self.outputs.close()
        if self._held is not None:
            held, self._held = self._held, None
            lock.release(held)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_pending(self) -> None:
        """Hand the appended records over in one statement; that is quicker than one by one."""
        if self._pending:
            self._connection.executemany("INSERT INTO record (body) VALUES (?)", self._pending)
            self._pending.clear()

    def _meta(self, key: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _set_meta(self, key: str, value: bytes) -> None:
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )
