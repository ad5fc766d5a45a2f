"""The output store: the texts a run produced, by instance and item."""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from fate.store import database
from fate.store.database import StoreError


class Outputs:
    """Texts in the run file. `Journal.outputs` shares the journal's transaction.

    Opened on its own (`Outputs(path)`), it reads a finished run.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._connection = connection if connection is not None else database.connect(path)
        self.disk = database.Disk(path)
        self._open = True

    def put(self, instance: str, item: int, text: str, meta: dict[str, Any]) -> None:
        """Store an item's text, before the event that names it is journalled.

        A later attempt at the same item replaces the text. `meta` is whatever JSON the caller
        wants to find again beside it.
        """
        with self.disk:
            self._connection.execute(
                "INSERT INTO output VALUES (?, ?, ?, ?) ON CONFLICT (instance, item) "
                "DO UPDATE SET text = excluded.text, meta = excluded.meta",
                (instance, item, text, msgspec.json.encode(meta)),
            )

    def get(self, instance: str, item: int) -> str:
        """Return an item's text."""
        return self._row(instance, item)[0]

    def meta(self, instance: str, item: int) -> dict[str, Any]:
        """Return what was stored beside an item's text."""
        return msgspec.json.decode(self._row(instance, item)[1], type=dict[str, Any])

    def items(self, instance: str) -> list[tuple[int, str]]:
        """Return (item, text) of every stored item of an instance, in item order."""
        rows = self._connection.execute(
            "SELECT item, text FROM output WHERE instance = ? ORDER BY item", (instance,)
        )
        return [(item, text) for item, text in rows]

    def count(self) -> int:
        """Return how many texts are stored."""
        return self._connection.execute("SELECT COUNT(*) FROM output").fetchone()[0]

    def close(self) -> None:
        """Commit and close; idempotent."""
        if self._open:
            self._open = False
            if not self.disk.failed:
                self._connection.commit()
            self._connection.close()

    def _row(self, instance: str, item: int) -> tuple[str, bytes]:
        row = self._connection.execute(
            "SELECT text, meta FROM output WHERE instance = ? AND item = ?", (instance, item)
        ).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: no output of {instance}[{item}] is stored")
        return row
