"""A run's decisions recomputed for its timeline: one pass over the journal, nothing stored."""

from collections.abc import Sequence
from typing import NamedTuple

from fate.domain.errors import ReplayError
from fate.domain.graph import Chunk
from fate.domain.messages import Planned, Record
from fate.drivers.regrets import regrets
from fate.drivers.replay import Decision, decisions
from fate.drivers.setup import Setup
from fate.view.critical import critical_path
from fate.view.explain import decide
from fate.view.history import History
from fate.view.trail import Expected, Explained, Trail, expectations, explained
from fate.view.waits import Aside, Held, held, spells

#: Rows of tables that a page carries at most: the tables of a run of this many calls on one
#: device, half as many on two.
TABLE_ROWS = 8_000
#: Plans that are recomputed at most, and chunks that these list: some milliseconds for each plan,
#: with the replay that leads to it, and a fifth of one for each chunk; half a minute together.
MOST_PLANS, MOST_LISTED = 2_500, 125_000
#: Chunks that are replayed at most to find where the first plan wanted each of them.
_FIRST_CHUNKS = 50_000


class _Bars(NamedTuple):
    """Calls that a plan started, by its version; and those whose table is wanted."""

    by_version: dict[int, dict[Chunk, int]]
    wanted: frozenset[int]
    calls: int


def trail(records: Sequence[Record], setup: Setup, history: History) -> Trail:
    """Return what the plans expected and the tables of the decisions.

    Of a run with more than `MOST_PLANS` plans, or with plans that list more than `MOST_LISTED`
    chunks, the first ones are recomputed. Where these started more calls than `TABLE_ROWS` allows,
    those of the critical path and the longest have tables. A journal that the core does not follow
    any more gives what could be found until then. A note says what is missing.
    """
    most = _most(records, history)
    last = history.plans[most - 1] if most < len(history.plans) else None
    bars = _bars(setup, history, None if last is None else last.version)
    gathered = _Gathered(setup, bars, spells(records))
    notes: list[str] = []
    if last is not None:
        notes.append(
            f"The first {most} of {len(history.plans)} plans are recomputed, up to "
            f"{last.at_s - history.start_s:.1f} s; `fate explain` recomputes any other."
        )
    if len(bars.wanted) < bars.calls:
        notes.append(
            f"This page carries the tables of {len(bars.wanted)} of {bars.calls} planned calls: "
            f"the critical path and the longest ones."
        )
    try:
        for decision in decisions(records, setup, check=True):
            gathered.add(decision)
            if last is not None and decision.snapshot.version >= last.version:
                break
    except ReplayError as error:
        notes = [f"Decisions can be recomputed up to a point only: {error}"]
    return Trail(
        expected=gathered.expected,
        first=gathered.first,
        tables=gathered.tables,
        note=" ".join(notes),
    )


def _most(records: Sequence[Record], history: History) -> int:
    """Return how many of the plans are recomputed, one at least."""
    listed = {
        event.version: sum(map(len, event.plan.orders))
        for record in records
        for event in record.events
        if isinstance(event, Planned)
    }
    chunks = 0
    for number, plan in enumerate(history.plans[:MOST_PLANS]):
        chunks += listed.get(plan.version, 0)
        if chunks > MOST_LISTED:
            return max(number, 1)
    return min(len(history.plans), MOST_PLANS)


def _bars(setup: Setup, history: History, last: int | None) -> _Bars:
    """Return the calls that plans started, those up to plan `last` where that is given."""
    by_version: dict[int, dict[Chunk, int]] = {}
    planned = [
        number
        for number, bar in enumerate(history.bars)
        if bar.kind == "call" and bar.plan >= 0 and (last is None or bar.plan <= last)
    ]
    for number in planned:
        bar = history.bars[number]
        chunk = Chunk(bar.instance, bar.start, bar.stop)
        by_version.setdefault(bar.plan, {}).setdefault(chunk, number)
    limit = TABLE_ROWS // len(setup.cluster.devices)
    path = frozenset(critical_path(history)) if len(planned) > limit else frozenset[int]()
    longest = sorted(
        planned, key=lambda n: (n not in path, history.bars[n].start_s - history.bars[n].end_s, n)
    )
    return _Bars(by_version, frozenset(longest[:limit]), len(planned))


class _Gathered:
    """What has been found so far."""

    def __init__(self, setup: Setup, bars: _Bars, asides: tuple[Aside, ...]) -> None:
        self.expected: dict[int, Expected] = {}
        self.first: dict[int, Expected] = {}
        self.tables: dict[int, Explained] = {}
        self._setup, self._bars, self._asides = setup, bars, asides
        self._devices = tuple(device.id for device in setup.cluster.devices)
        self._first: dict[Chunk, Expected] = {}
        self._held: dict[Chunk, list[Held]] = {}
        self._tabled = {
            chunk
            for found in bars.by_version.values()
            for chunk, number in found.items()
            if number in bars.wanted
        }
        self._left = _FIRST_CHUNKS

    def add(self, decision: Decision) -> None:
        """Note what a plan expected of its chunks, and why the others wait."""
        snapshot, plan = decision.snapshot, decision.plan
        mine = self._bars.by_version.get(snapshot.version, {})
        if mine or self._left > 0:
            wanted = mine if self._left <= 0 else None
            self._left -= snapshot.frontier
            found = expectations(self._setup.cluster, snapshot, plan, wanted)
            for chunk, expected in found.items():
                self._first.setdefault(chunk, expected)
            for chunk, number in mine.items():
                self._expect(chunk, number, found.get(chunk))
        for chunk in snapshot.chunks:
            if chunk in mine:
                if mine[chunk] in self._bars.wanted:
                    self._explain(decision, chunk, mine[chunk])
            elif chunk in self._tabled:
                step = held(plan, self._devices, chunk, decision.at_s, snapshot.version)
                self._held.setdefault(chunk, []).append(step)

    def _expect(self, chunk: Chunk, number: int, expected: Expected | None) -> None:
        first = self._first.get(chunk)
        if expected is None:
            return
        self.expected[number] = expected
        if first is not None and first.version != expected.version:
            self.first[number] = first

    def _explain(self, decision: Decision, chunk: Chunk, number: int) -> None:
        table = decide(
            self._setup.cluster,
            decision.snapshot,
            decision.plan,
            chunk,
            regrets(self._setup.policy, decision.snapshot, decision.plan, chunk),
            decision.drained,
        )
        held = tuple(self._held.pop(chunk, ()))
        self.tables[number] = explained(table, held, self._asides)
