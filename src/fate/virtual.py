"""A run in virtual time: jobs, what is known before, and a policy made into a journal like others.

known (this machine's costs, or one run's) -> graphs, setup -> outcome -> run file
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from fate.cost.profile import Profile
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Stage
from fate.drivers.faulty import simulate_faults
from fate.drivers.recorded import carry_over, learned
from fate.drivers.setup import Outcome, Setup
from fate.drivers.warm import start_warm_up
from fate.drivers.world import Truth
from fate.jobs import Job
from fate.session import Choice, choose, first_header, graphs_of, known_profile, make_setup
from fate.store.history import Lengths, Observer, WorkflowHistory
from fate.store.journal import Header, Journal
from fate.store.runs import RUN_FILE, RunStore


class Known(NamedTuple):
    """What is known before: costs, and what runs have seen (None: all of this machine's)."""

    profile: Profile
    seen: WorkflowHistory | None = None


class Simulated(NamedTuple):
    """A run in virtual time that ended; `path` is its file, as real runs have one."""

    header: Header
    setup: Setup
    outcome: Outcome
    path: Path


def known(job: Job, like: str | None) -> Known:
    """Return what is known of a job: of this machine, or what the run `like` has learned.

    Raises:
        FateError: that run has answered nothing.
    """
    return Known(known_profile(job)) if like is None else _as_in(like, job)


def simulate_graphs(
    jobs: Sequence[Job], graphs: Sequence[Graph], choice: Choice, truth: Truth
) -> Simulated:
    """Run graphs in virtual time, all submitted at once, and keep the journal.

    Args:
        jobs: where the graphs are from; the first one's cluster is what they run on.
        graphs: what runs; `graphs_to_run`.
        choice: who decides, and what goes wrong on purpose.
        truth: what things really cost; the policy knows its profile.
    """
    policy, name, options = choose(jobs[0], choice)
    warming = start_warm_up(policy)
    if warming is not None:
        warming.join()
    setup = make_setup(jobs[0], policy, truth.profile, choice.seed)
    outcome = simulate_faults([(0.0, graph) for graph in graphs], setup, choice.faults, truth)
    path = RunStore().new() / RUN_FILE
    names = ", ".join(job.name for job in jobs)
    header = msgspec.structs.replace(
        first_header(names, setup, (name, options), simulated=True), run=path.parent.name
    )
    with Journal.create(path, header) as journal:
        for record in outcome.records:
            journal.append(record)
        journal.set_end(outcome.status)
    return Simulated(header, setup, outcome, path)


def graphs_to_run(
    jobs: Sequence[Job], copies: int, lengths: Lengths, seen: WorkflowHistory | None
) -> list[Graph]:
    """Return every workflow, as often as asked, under ids of their own; see `session.graphs_of`."""
    graphs: list[Graph] = []
    for job in jobs:
        for graph in graphs_of(job, lengths, seen):
            graphs += [graph] if copies == 1 else [rename(graph, n) for n in range(copies)]
    ids = [graph.id for graph in graphs]
    return graphs if len(set(ids)) == len(ids) else [rename(g, n) for n, g in enumerate(graphs)]


def rename(graph: Graph, number: int) -> Graph:
    """Return a copy of a graph with an id of its own; what its outputs are called follows."""
    new = f"{graph.id}-{number}"
    before, after = f"out:{graph.id}/", f"out:{new}/"
    stages = tuple([_rename_outputs(stage, before, after) for stage in graph.stages])
    return msgspec.structs.replace(graph, id=new, stages=stages)


def _rename_outputs(stage: Stage, before: str, after: str) -> Stage:
    prompt = tuple(
        [
            msgspec.structs.replace(segment, key=segment.key.replace(before, after, 1))
            for segment in stage.prompt
        ]
    )
    body = tuple([_rename_outputs(each, before, after) for each in stage.body])
    return msgspec.structs.replace(stage, prompt=prompt, body=body)


def _as_in(run: str, job: Job) -> Known:
    """Return what one run has learned, its costs carried over to the job's cluster."""
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    observer = Observer()
    for record in records:
        observer.add(record)
    if not observer.seen:
        raise FateError(f"--like {run}: the run has answered nothing; name another one")
    cluster = job.resolved.cluster
    costs = learned(records, header.cluster, header.profile)
    return Known(carry_over(costs, header.cluster, cluster), observer.seen)
