"""Processes that die: a disk that keeps what was committed, and runs killed at any operation."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from tests.audit import Audit
from tests.declared import Bench, Log

from fate.domain.graph import Graph
from fate.domain.messages import Record
from fate.drivers.clock import VirtualClock
from fate.drivers.recover import Recovered, recover
from fate.drivers.setup import Outcome, Setup
from fate.drivers.world import Truth


class KilledError(Exception):
    """The process is gone."""


@dataclass(slots=True)
class Disk(Log):
    """A journal and outputs with one transaction. Operation number `kill_at` is never done.

    `texts` is what a reader of the same process sees, `durable` what the next process finds.
    """

    kill_at: int = -1
    operations: int = 0
    texts: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    durable: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    def append(self, record: Record) -> None:
        """Add a record, as it is stored."""
        self._operate()
        self.records.append(msgspec.json.decode(msgspec.json.encode(record), type=Record))

    def put(self, instance: str, item: int, text: str, meta: dict[str, Any]) -> None:
        """Keep a text; what is durable does not change any more."""
        self._operate()
        before = self.durable.get((instance, item), text)
        assert before == text, f"{instance}[{item}] was put twice"
        self.texts[instance, item] = text

    def get(self, instance: str, item: int) -> str:
        """Return a text."""
        return self.texts[instance, item]

    def commit(self) -> None:
        """Make everything durable."""
        self._operate()
        self.committed, self.durable = len(self.records), dict(self.texts)

    def _operate(self) -> None:
        self.operations += 1
        if 0 <= self.kill_at < self.operations:
            raise KilledError

    def restart(self, kill_at: int = -1) -> None:
        """Lose what was not committed; the next process is killed at its own operation."""
        del self.records[self.committed :]
        self.texts, self.operations, self.kill_at = dict(self.durable), 0, kill_at


@dataclass(slots=True)
class Story:
    """One run through as many processes as it takes.

    `prepare` may change a process before it runs, `watch` is told of every record it writes.
    """

    setup: Setup
    graphs: Sequence[Graph]
    disk: Disk = field(default_factory=Disk)
    truth: Truth | None = None
    processes: int = 0
    prepare: Callable[[Bench], None] = lambda bench: None
    watch: Callable[[Bench, Record], None] = lambda bench, record: None

    def live(self, left: Recovered | None = None) -> Outcome:
        """Run one process to its end.

        Raises:
            KilledError: it did not get there.
        """
        self.processes += 1
        clock = VirtualClock(0.0 if left is None else left.at_s)
        bench = Bench(
            self.setup,
            self.graphs,
            self.truth,
            clock=clock,
            log=self.disk,
            outputs=self.disk,
            on_record=lambda record: self.watch(bench, record),
        )
        self.prepare(bench)
        return asyncio.run(bench.run(left))

    def left(self, *, afresh: bool = False, rerun_tools: bool = False) -> Recovered:
        """Recover from what is durable."""
        graphs = {graph.id: lambda graph=graph: graph for graph in self.graphs}
        return recover(
            self.disk.records, self.setup, graphs, afresh=afresh, rerun_tools=rerun_tools
        )

    def through(self, kills: Sequence[int]) -> Outcome:
        """Live through a kill at each of these operations, then to the end."""
        left: Recovered | None = None
        for kill_at in (*kills, -1):
            self.disk.restart(kill_at)
            if self.processes:
                left = self.left()
            try:
                return self.live(left)
            except KilledError:
                continue
        raise AssertionError("the last process is never killed")

    def audit(self) -> Audit:
        """Go over the log of all processes."""
        return Audit(self.setup.cluster, self.graphs).of(self.disk.records)
