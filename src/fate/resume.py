"""A run that stopped goes on in this process: opened, recovered, driven to its end.

What the run file keeps is all it takes: the job, the header and the records. Devices are opened
anew and are empty; weights are fetched again if they are gone.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fate.domain.errors import FateError
from fate.domain.messages import Record
from fate.drivers.recover import Recovered, recover, stands
from fate.drivers.run import Usage
from fate.drivers.setup import Setup
from fate.drivers.survey import survey
from fate.jobs import Job, unpack
from fate.session import Finished, Process, drive, expanders, results_of, setup_of
from fate.store.history import Observer
from fate.store.journal import Header, Journal
from fate.workflow.tokens import TokenCounter
from fate.workflow.values import MemoryOutputs


class ResumeError(FateError):
    """A run cannot go on."""

    code = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A run that no other process works on while this one has it.

    `over`: every workflow has ended; `well`: none of them badly.
    """

    journal: Journal
    header: Header
    job: Job
    setup: Setup
    records: Sequence[Record]
    over: bool
    well: bool

    @property
    def workflows(self) -> list[str]:
        """Ids of the run's workflows."""
        return [self.job.workflow_id(index) for index in range(len(self.job.inputs))]


@contextmanager
def stopped(path: Path) -> Generator[Stopped]:
    """Open a run to go on with it; nobody else can until the block ends.

    Raises:
        StoreError: it is running, or its file cannot be read.
        ResumeError: it was simulated, or does not say what it needs, or models have changed.
    """
    with Journal.go_on(path) as journal:
        header = journal.header
        if header.simulated:
            raise ResumeError(f"run {header.run}: it was simulated; simulate it again instead")
        if not journal.job:
            raise ResumeError(f"run {header.run}: its file does not say what it needs to go on")
        job = unpack(journal.job)
        _same_cluster(header, job)
        setup = setup_of(header)
        records = tuple(journal.records())
        names = [job.workflow_id(index) for index in range(len(job.inputs))]
        unfinished, badly = stands(records, names)
        yield Stopped(
            journal=journal,
            header=header,
            job=job,
            setup=setup,
            records=records,
            over=not unfinished,
            well=not badly,
        )


def where_it_stands(
    run: Stopped, *, reason: str = "", afresh: bool = False, rerun_tools: bool = False
) -> Recovered:
    """Return what a stopped run goes on with; see `drivers.recover.recover`."""
    works = expanders(run.job, TokenCounter(), MemoryOutputs())
    return recover(
        run.records,
        run.setup,
        {name: work.graph for name, work in works.items()},
        reason=reason,
        afresh=afresh,
        rerun_tools=rerun_tools,
    )


async def go_on(run: Stopped, left: Recovered, process: Process) -> Finished:
    """Drive a stopped run to its end; its file gets the records of this process too."""
    observer = Observer()
    for record in run.records:
        observer.add(record)
    run.journal.reopen()
    return await drive(
        run.job, run.journal, run.header, run.setup, process, left=left, observer=observer
    )


def finished(run: Stopped) -> Finished:
    """Return a run whose workflows have all ended, as it ended."""
    ended = survey(run.records).ended
    works = expanders(run.job, TokenCounter(), run.journal.outputs)
    observer = Observer()
    for record in run.records:
        observer.add(record)
    found = Finished(
        header=run.header,
        ended=tuple([ended[workflow] for workflow in works]),
        results=results_of(works, ended),
        usage=Usage(),
        profile=run.header.profile,
        seen=observer.seen,
        rss_bytes={},
    )
    if run.journal.end is None:  # killed between its last record and this
        run.journal.set_end(found.status)
    return found


def _same_cluster(header: Header, job: Job) -> None:
    """Refuse a run whose models or devices are not what they were: records would not hold."""
    was, now = header.cluster, job.resolved.cluster
    if was == now:
        return
    models = {model.id: model for model in now.models}
    changed = [model.id for model in was.models if models.get(model.id) != model]
    what = f"model {changed[0]!r}" if changed else "the cluster"
    raise ResumeError(
        f"run {header.run}: {what} is not what it was when the run began; put the weights back, "
        f"or run the workflow again"
    )
