"""A core driven by hand: every event is sent on purpose, every answer can be looked at."""

from typing import Any, TypeVar

from msgspec.structs import replace
from tests.graphs import chain, cluster, profile

from fate.core import invariants
from fate.core.options import SchedulerOptions
from fate.core.scheduler import Scheduler
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk, Graph, InstanceId
from fate.domain.messages import (
    Call,
    Command,
    Done,
    Event,
    Expand,
    ItemDone,
    Load,
    Planned,
    RequestPlan,
    RunTool,
    Submitted,
)
from fate.domain.plan import Plan, Prefetch
from fate.domain.snapshot import Snapshot
from fate.drivers.declared import Declared

C = TypeVar("C")


class ByHand:
    """Feeds a core, checks it after each step, and keeps what it answered last in `out`.

    Each `send` happens one second after the one before, unless told when.
    """

    def __init__(
        self,
        on: Cluster | None = None,
        *,
        eager: bool = False,
        measured: bool = False,
        slowdown: Any = None,
        **options: Any,
    ) -> None:
        self.cluster = on or cluster()
        known = profile(self.cluster)
        if slowdown:
            known = replace(known, slowdown=slowdown)
        if measured:
            known = replace(known, source="declared")
        self.core = Scheduler(self.cluster, known, SchedulerOptions(**options), eager=eager)
        self.now_s = 0.0
        self.out: list[Command] = []
        self.declared = Declared(lambda _what, _about: 0.0)
        self._request: RequestPlan | None = None

    def send(self, *events: Event, at_s: float | None = None) -> list[Command]:
        """Hand over a batch."""
        self.now_s = self.now_s + 1.0 if at_s is None else at_s
        self.out = self.core.handle(events, self.now_s)
        invariants.check(self.core)
        for command in self.out:
            if isinstance(command, RequestPlan):
                self._request = command
        return self.out

    def submit(self, *graphs: Graph) -> list[Command]:
        """Hand workflows in and render whatever can be rendered at once."""
        self.send_graph(*graphs)
        return self.expand()

    def send_graph(self, *graphs: Graph) -> list[Command]:
        """Hand workflows in."""
        for graph in graphs:
            self.declared.arrive(graph)
        return self.send(*[Submitted(graph=graph) for graph in graphs])

    def expand(self, *more: Event) -> list[Command]:
        """Render what the last answer asked for, as the stages declare it."""
        wanted = [command.instance for command in self.out if isinstance(command, Expand)]
        return self.send(*more, *[self.expansion(name) for name in wanted])

    def expansion(self, instance: InstanceId) -> Event:
        """Return an instance's declared prompts, or a group's next scopes."""
        return self.declared.expand(instance)

    def plan(
        self, *orders: tuple[Chunk, ...], prefetch: tuple[Prefetch, ...] = ()
    ) -> list[Command]:
        """Answer the request in flight; devices that are not named get empty lists."""
        full = orders + ((),) * (len(self.cluster.devices) - len(orders))
        plan = Plan(policy="test", orders=full, prefetch=prefetch)
        return self.send(Planned(version=self.version, plan=plan))

    @property
    def version(self) -> int:
        """Version of the last plan asked for."""
        return self.request.version

    @property
    def request(self) -> RequestPlan:
        """The last plan asked for."""
        assert self._request is not None, "no plan has been asked for"
        return self._request

    @property
    def snapshot(self) -> Snapshot:
        """What the last request shows."""
        return self.request.snapshot

    def loaded(self, load: Load) -> list[Command]:
        """A load ends well."""
        return self.send(Done(activity=load.activity, seconds=0.4))

    def finished(self, work: Call | RunTool) -> list[Command]:
        """Every item of a call or tool is done, and the activity."""
        items = range(work.chunk.start, work.chunk.stop)
        return self.send(
            *[ItemDone(activity=work.activity, item=item, output_tokens=32) for item in items],
            Done(activity=work.activity),
        )

    def finish_tool(self, instance: InstanceId) -> list[Command]:
        """The tool that runs for an instance is done."""
        at_work = [(c.chunk, c.activity or 0) for c in self.core.fleet.chains]
        found = [(c, a) for c, a in at_work if c is not None and c.instance == instance]
        ((chunk, activity),) = found
        wanted = [command for command in self.out if isinstance(command, Expand)]
        self.finished(RunTool(activity=activity, chunk=chunk))
        self.out = [*wanted, *self.out]
        return self.out

    def warm(self, name: str, device: int = 0) -> None:
        """Bring a model onto a device by running a workflow of its own."""
        chunk = self.submit_one(name, f"warm-{name}-{device}")
        orders: list[tuple[Chunk, ...]] = [() for _ in self.cluster.devices]
        orders[device] = (chunk,)
        self.plan(*orders)
        self.loaded(self.one(Load))
        self.finished(self.one(Call))

    def submit_one(self, models: str, workflow: str = "w") -> Chunk:
        """Submit a chain and return the chunk of its first call."""
        self.submit(chain(workflow, models))
        return Chunk(f"{workflow}/s0", 0, 1)

    def all(self, kind: type[C]) -> list[C]:
        """Return the commands of a kind in the last answer."""
        return [command for command in self.out if isinstance(command, kind)]

    def one(self, kind: type[C]) -> C:
        """Return the only command of a kind in the last answer."""
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} x {kind.__name__} in {self._kinds()}"
        return found[0]

    def _kinds(self) -> list[str]:
        return [type(command).__name__ for command in self.out]

    def none(self, *kinds: type[Any]) -> None:
        """Assert that the last answer has no command of these kinds."""
        unwanted = any(isinstance(command, kinds) for command in self.out)
        assert not unwanted, f"unexpected in {self._kinds()}"


def first(workflow: str, stage: str = "s0", start: int = 0, stop: int = 1) -> Chunk:
    """Return a chunk by the names of its workflow and stage."""
    return Chunk(f"{workflow}/{stage}", start, stop)
