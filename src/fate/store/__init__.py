"""Remembers: the journal and the outputs of a run in one SQLite file, and where runs are."""

from fate.store.database import StoreError
from fate.store.journal import Header, Journal
from fate.store.outputs import Outputs
from fate.store.runs import RUN_FILE, RunStore, default_root

__all__ = ["RUN_FILE", "Header", "Journal", "Outputs", "RunStore", "StoreError", "default_root"]
