"""What another device or more memory would have saved: a run's workload simulated with them."""

import time
from pathlib import Path

import msgspec

from fate.domain.catalog import Cluster
from fate.domain.errors import FateError
from fate.domain.graph import Stage
from fate.domain.messages import Record
from fate.drivers.recorded import Recording, carry_over, learned, recording, resimulate
from fate.drivers.setup import Setup
from fate.drivers.slow import slow_faults
from fate.session import setup_of
from fate.store.journal import Journal
from fate.view.fold import Fold
from fate.view.verdict import dominated, saved

#: Items beyond which nothing is simulated at the end of a run, and CPU seconds after which the
#: simulations are given up: the user waits for the prompt.
MOST_ITEMS = 1_000
MOST_S = 3.0


class _TooLongError(FateError):
    """The simulations take too long."""


def verdict(fold: Fold, journal_path: Path) -> list[str]:
    """Return the lines; the second says so where the workload is too large to be simulated."""
    lines = [dominated(fold)]
    items = sum(run.total or run.stage.items for run in fold.book.stages.values())
    if not items or fold.history().status != "ok":
        return lines
    if items > MOST_ITEMS:
        return [*lines, _skipped(f"{items} items are more than {MOST_ITEMS}")]
    give_up_s = time.thread_time() + MOST_S
    try:
        lines += _simulated(journal_path, give_up_s)
    except _TooLongError:
        lines.append(_skipped(f"it takes more than {MOST_S:g} s"))
    except FateError as error:
        lines.append(f"simulated: not possible: {error}")
    return lines


def _skipped(why: str) -> str:
    return f"simulated: not done at the end of a run: {why}; `fate compare` has the time"


def more_memory(cluster: Cluster, models: set[str]) -> Cluster | None:
    """Return the cluster with room for two of these models on each device that has less."""
    sizes = sorted(m.footprint_bytes for m in cluster.models if m.id in models)
    room = sum(sizes[-2:])
    if len(sizes) < 2 or all(not d.managed or d.memory_bytes >= room for d in cluster.devices):
        return None
    return msgspec.structs.replace(
        cluster,
        devices=tuple(
            msgspec.structs.replace(d, memory_bytes=max(d.memory_bytes, room)) if d.managed else d
            for d in cluster.devices
        ),
    )


def another_device(cluster: Cluster) -> Cluster:
    """Return the cluster with one more device like its first, linked like that one."""
    first = cluster.devices[0]
    name = f"another-{first.id}"
    links = [
        msgspec.structs.replace(
            link,
            source=name if link.source == first.id else link.source,
            target=name if link.target == first.id else link.target,
        )
        for link in cluster.links
        if first.id in (link.source, link.target)
    ]
    return msgspec.structs.replace(
        cluster,
        devices=(*cluster.devices, msgspec.structs.replace(first, id=name)),
        links=(*cluster.links, *links),
    )


def _simulated(journal_path: Path, give_up_s: float) -> list[str]:
    def watch(_record: Record) -> None:
        if time.thread_time() > give_up_s:
            raise _TooLongError

    with Journal.open(journal_path) as journal:
        header, records = journal.header, list(journal.records())
    work, own = recording(records), setup_of(header)
    truth = learned(records, header.cluster, header.profile)
    work.mishaps.slow.extend(slow_faults(records, truth))

    def makespan_s(cluster: Cluster) -> float:
        setup = Setup(
            cluster=cluster,
            profile=carry_over(own.profile, own.cluster, cluster),
            policy=own.policy,
            options=own.options,
            seed=own.seed,
        )
        costs = carry_over(truth, own.cluster, cluster)
        return resimulate(work, setup, costs, watch).makespan_s

    cluster = own.cluster
    others = [("another device like the first saves", another_device(cluster))]
    larger = more_memory(cluster, _models(work))
    if larger is not None:
        others.append(("memory for two models on each", larger))
    own_s = makespan_s(cluster)
    if own_s <= 0:
        return []
    return [saved(own_s, [(what, makespan_s(other)) for what, other in others])]


def _models(work: Recording) -> set[str]:
    found: set[str] = set()
    stages: list[Stage] = [stage for _, graph in work.arrivals for stage in graph.stages]
    while stages:
        stage = stages.pop()
        stages += stage.body
        if stage.kind == "llm":
            found.add(stage.model)
    return found
