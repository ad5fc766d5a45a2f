"""`fate compare`: a run's workload under other policies, or on another cluster, simulated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer

from fate import registry
from fate.bench.report import table
from fate.cli.options import ClusterFile, Objective
from fate.config import load_cluster, resolve
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster
from fate.domain.errors import FateError
from fate.drivers.recorded import Recording, carry_over, learned, recording, resimulate
from fate.drivers.setup import Setup
from fate.drivers.slow import slow_faults
from fate.drivers.warm import start_warm_up
from fate.session import setup_of
from fate.store.journal import Header, Journal
from fate.store.runs import RunStore
from fate.view.fold import fold
from fate.view.history import HOST, History
from fate.view.metrics import device_times

#: What is compared where nothing is named: cheap, well-known, and different from each other.
_POLICIES = "late-eft,idle-affinity,round-robin-idle,round-robin"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the run itself or of one policy in the simulator; medians over seeds.

    `over_run` and `over_own` are makespans over the run's own, and over that of the simulation of
    the run's own policy, in which the simulator's error is the same on both sides.
    """

    policy: str
    simulated: bool
    status: str
    makespan_s: float
    loads: float
    computed_tokens: float
    load_s: float
    prefill_s: float
    decode_s: float
    idle_s: float
    over_run: float = 1.0
    over_own: float = 1.0


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes; the first row is the run, the second its own policy simulated.

    `failures`, `losses` and `refusals` are the run's failed attempts, lost devices and refused
    loads, `slowed` the spells in which a device was slow; all of them are repeated.
    """

    run: str
    simulated: bool
    cluster: str
    seeds: int
    failures: int
    losses: int
    refusals: int
    slowed: int
    rows: tuple[Row, ...]


def compare(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    policies: Annotated[
        str, typer.Option(metavar="NAMES", help="Comma-separated; see `fate list policies`.")
    ] = _POLICIES,
    objective: Objective = None,
    cluster: ClusterFile = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Simulations of each policy; figures are medians.")
    ] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Replay RUN's workload in the simulator under other policies, and hold them against the run.

    Graphs, prompts, what groups turned out to be, true answer lengths, tool seconds and learned
    costs are the run's. Items fail as often as they did, and servers ask for the same rests;
    devices are lost when and as long as they were; loads that a device refused are refused again,
    by their number there; devices are slow when, as long and by as much as they were found to be,
    and that is no part of what calls cost. The simulation of the run's own policy shows how far the
    simulator itself is off.
    """
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    work = recording(records)
    if not work.arrivals:
        raise FateError(f"{path}: the run has no workflow in it; there is nothing to compare")
    truth = learned(records, header.cluster, header.profile)
    work.mishaps.slow.extend(slow_faults(records, truth))
    target = header.cluster if cluster is None else other_cluster(cluster, work, header)
    known = carry_over(header.profile, header.cluster, target)
    truth = carry_over(truth, header.cluster, target)
    names = [name.strip() for name in policies.split(",") if name.strip()]
    rows = [figures(header.policy, header.cluster, [fold(header.cluster, records)], header)]
    for name, aim in candidates(header.policy, names, objective):
        setup = replace(setup_of(header, name, aim), cluster=target, profile=known)
        row = _simulated(header, work, setup, truth, seeds)
        rows.append(msgspec.structs.replace(row, policy=f"{name} for {objective}") if aim else row)
    again = work.mishaps.on([device.id for device in target.devices])
    result = Comparison(
        run=header.run,
        simulated=True,
        cluster="the run's own" if cluster is None else str(cluster),
        seeds=seeds,
        failures=work.mishaps.failed,
        losses=sum(fault.kind == "kill" for fault in again),
        refusals=sum(fault.kind == "refuse_load" for fault in again),
        slowed=sum(fault.kind == "slow" for fault in again),
        rows=tuple(_ratios(rows)),
    )
    print(msgspec.json.encode(result).decode() if json_ else text(result))


def candidates(
    own: str, names: Sequence[str], objective: str | None
) -> list[tuple[str, dict[str, float]]]:
    """Return policies with the options of their aim: the run's own as it was, then those named."""
    aims: dict[str, dict[str, float]] = {name: {} for name in names}
    if objective is not None:
        able = [name for name in aims if registry.aims(name)] or list(names[:1])
        aims.update({name: registry.aim(name, objective) for name in able})
    return [(own, {}), *[(name, aim) for name, aim in aims.items() if aim or name != own]]


def other_cluster(path: Path, work: Recording, header: Header) -> Cluster:
    """Return the cluster of a file, which must have every model that the run used."""
    found = resolve(load_cluster(path), {}).cluster
    have = {model.id for model in found.models}
    for _, graph in work.arrivals:
        for stage in graph.stages:
            if stage.kind == "llm" and stage.model not in have:
                raise FateError(
                    f"{path}: the cluster has no model {stage.model!r}, which {header.run} used; "
                    "add it under `models:`"
                )
    return found


def figures(policy: str, cluster: Cluster, histories: Sequence[History], header: Header) -> Row:
    """Return a row of the medians over runs of the same work."""
    facts = msgspec.structs.replace(header, cluster=cluster)
    times = [device_times(facts, history) for history in histories]

    def busy(*fields: str) -> float:
        return median(
            [
                sum(getattr(row, field) for name, row in each.items() for field in fields
                    if name != HOST)
                for each in times
            ]
        )  # fmt: skip

    counts = [history.counts for history in histories]
    return Row(
        policy=policy,
        simulated=header.simulated,
        status=next((h.status for h in histories if h.status != "ok"), "ok"),
        makespan_s=median([history.makespan_s for history in histories]),
        loads=median([c.model_loads for c in counts]),
        computed_tokens=median([c.prompt_tokens - c.cached_tokens for c in counts]),
        load_s=busy("load_s", "unload_s", "move_s"),
        prefill_s=busy("prefill_s", "warm_s"),
        decode_s=busy("decode_s"),
        idle_s=busy("idle_s"),
    )


def text(result: Comparison) -> str:
    """Return the table."""
    rows = [
        (
            f"{row.policy}{'' if row.simulated else ' (the run)'}",
            f"{row.makespan_s:.2f}",
            f"{row.loads:g}",
            f"{row.computed_tokens:g}",
            *[f"{s:.1f}" for s in (row.load_s, row.prefill_s, row.decode_s, row.idle_s)],
            f"{row.over_run:.2f}",
            f"{row.over_own:.2f}",
            "" if row.status == "ok" else row.status,
        )
        for row in result.rows
    ]
    head = (
        "policy", "makespan", "loads", "computed", "load", "prefill", "decode", "idle",
        "/ run", "/ own", "",
    )  # fmt: skip
    own = result.rows[1]
    lines = [
        f"simulated: the work of {result.run} on {result.cluster} cluster; "
        "the first line is what really happened"
        if not result.rows[0].simulated
        else f"simulated: the work of {result.run}, itself a simulation",
        table(head, rows),
        f"the simulator has the run's own policy at {own.over_run:.2f} of the run: "
        "hold others against `/ own`",
    ]
    if result.failures or result.losses or result.refusals or result.slowed:
        attempts = f"{result.failures} attempt{'' if result.failures == 1 else 's'}"
        losses = f"{result.losses} loss{'' if result.losses == 1 else 'es'} of a device"
        refusals = f"{result.refusals} refused load{'' if result.refusals == 1 else 's'}"
        slow = f"{result.slowed} slow spell{'' if result.slowed == 1 else 's'}"
        again = ", ".join((attempts, losses, refusals, slow))
        lines.append(f"went wrong in the run and does so again: {again}")
    return "\n".join(lines)


def _simulated(header: Header, work: Recording, setup: Setup, truth: Profile, seeds: int) -> Row:
    warming = start_warm_up(setup.policy)
    if warming is not None:
        warming.join()
    histories: list[History] = []
    for number in range(seeds):
        seeded = replace(setup, seed=setup.seed + number)
        outcome = resimulate(work, seeded, truth)
        histories.append(fold(setup.cluster, outcome.records))
    simulated = msgspec.structs.replace(header, simulated=True)
    return figures(setup.policy.name, setup.cluster, histories, simulated)


def _ratios(rows: Sequence[Row]) -> list[Row]:
    run_s, own_s = rows[0].makespan_s, rows[1].makespan_s
    return [
        msgspec.structs.replace(
            row,
            over_run=row.makespan_s / run_s if run_s else 0.0,
            over_own=row.makespan_s / own_s if own_s else 0.0,
        )
        for row in rows
    ]
