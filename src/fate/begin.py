"""A run that begins: what is known, open engines, a prediction, and then the work itself."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fate.domain.graph import Graph
from fate.domain.messages import Record
from fate.drivers.run import Runtime
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.jobs import Job
from fate.session import (
    Choice,
    Finished,
    choose,
    graphs_of,
    known_profile,
    make_setup,
    open_engines,
    remember,
    run_job,
)

#: Runs with more stages than this are not predicted, nor those whose prediction takes longer than
#: the second [s]: the work is not to wait for it (many items, or kernels that are not compiled).
_MAX_PREDICTED_STAGES, MAX_PREDICTING_S = 2_000, 5.0


class _TakesLongError(Exception):
    """A prediction is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told: of every record, of the makespan expected before [s], and of the runtime."""

    record: Callable[[Record], None]
    predicted: Callable[[float | None], None] | None = None
    started: Callable[[Runtime], None] | None = None


async def begin(
    job: Job, choice: Choice, weights: Mapping[str, Path], path: Path, watch: Watch
) -> Finished:
    """Run a job to its end on engines of its own, and remember what it has learned.

    Args:
        job: what runs where.
        choice: who decides.
        weights: the file of each model (`session.fetch_weights`).
        path: the run's file; devices write their logs beside it.
        watch: who is told of what happens.
    """
    profile = known_profile(job)
    async with open_engines(job, weights, path.parent) as engines:
        setup = make_setup(job, choose(job, choice)[0], profile, choice.seed)
        predicted_s = await asyncio.to_thread(predict, graphs_of(job), setup)
        if watch.predicted is not None:
            watch.predicted(predicted_s)
        finished = await run_job(
            job,
            engines,
            choice,
            profile=profile,
            journal_path=path,
            predicted_s=predicted_s,
            on_record=watch.record,
            on_start=watch.started,
        )
    remember(job, finished)
    return finished


def predict(graphs: Sequence[Graph], setup: Setup) -> float | None:
    """Return the makespan expected before anything starts [s]; None where that takes too long."""
    if sum(len(graph.stages) for graph in graphs) > _MAX_PREDICTED_STAGES:
        return None
    until_s = time.monotonic() + MAX_PREDICTING_S

    def in_time(_: Record) -> None:
        if time.monotonic() > until_s:
            raise _TakesLongError

    try:
        return simulate([(0.0, graph) for graph in graphs], setup, on_record=in_time).makespan_s
    except _TakesLongError:
        return None
