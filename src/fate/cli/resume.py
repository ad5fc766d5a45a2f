"""`fate resume`: a run that was interrupted, cancelled or failed goes on."""

import asyncio
import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fate.cli.options import JsonFile, OutFile, Plain, Quiet, TimelineFile
from fate.cli.publish import EXIT_CODES, Targets, publish, until_end
from fate.cli.show import Show
from fate.domain.errors import FateError
from fate.drivers.recover import Recovered
from fate.drivers.warm import start_warm_up
from fate.resume import Stopped, finished, go_on, stopped, where_it_stands
from fate.session import (
    Choice,
    Finished,
    Process,
    fetch_weights,
    open_engines,
    remember,
)
from fate.store.runs import RunStore


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    out: OutFile = None,
    json_: JsonFile = None,
    timeline: TimelineFile = None,
    rerun_tools: Annotated[
        bool,
        typer.Option(
            "--rerun-tools", help="Run tools again that may have run already and are not pure."
        ),
    ] = False,
    afresh: Annotated[
        bool,
        typer.Option(
            "--afresh", help="Do not replay the records, as when another version wrote them."
        ),
    ] = False,
    plain: Plain = False,
    quiet: Quiet = False,
) -> None:
    """Go on with RUN where it stopped: what is finished is kept, only the rest runs.

    An interrupted run goes on; one that was cancelled or failed tries again what is missing; of
    one that ended well the outputs are printed. Files are written where `fate run` was told to,
    unless options say otherwise. Exit codes are those of `fate run`.
    """
    path = RunStore().find(run)
    with _uncollected(), stopped(path) as left:
        targets = _targets(left.job.targets, out, json_, timeline)
        choice = Choice(
            policy=left.header.policy, options=left.header.policy_options, seed=left.header.seed
        )
        show = Show(left.job, choice, quiet=quiet, plain=plain)
        show.recall(left.records)
        if left.over and left.well:
            show.say(f"run {left.header.run} has ended well; nothing is left to do")
            done = finished(left)
        else:
            weights = fetch_weights(left.job, show.say)
            recovering = partial(
                where_it_stands,
                left,
                reason="resumed by the user",
                afresh=afresh,
                rerun_tools=rerun_tools,
            )
            done = until_end(_go_on(left, recovering, weights, path, show), path)
            remember(left.job, done)
        publish(left.job, done, show, path, targets)
    raise typer.Exit(EXIT_CODES[done.status])


async def _go_on(
    left: Stopped,
    recovering: Callable[[], Recovered],
    weights: Mapping[str, Path],
    path: Path,
    show: Show,
) -> Finished:
    """Replay the records while devices start, then drive the run; the kernel comes up after that.

    Bringing the kernel up and replaying would take turns at the interpreter.
    """
    replayed = asyncio.create_task(asyncio.to_thread(recovering))
    try:
        async with open_engines(left.job, weights, path.parent) as engines:
            recovered = await replayed
            gc.freeze()
            gc.enable()
            show.say(_what(left, recovered))
            start_warm_up(left.setup.policy)
            show.expects(left.header.predicted_makespan_s)
            process = Process(engines=engines, on_record=show.add, on_start=show.started)
            async with show.watching():
                return await go_on(left, recovered, process)
    finally:
        await asyncio.gather(replayed, return_exceptions=True)  # its thread cannot be stopped


@contextmanager
def _uncollected() -> Generator[None]:
    """What is read back stays: to go over it again and again would free nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _what(left: Stopped, recovered: Recovered) -> str:
    """Return a line that says what is kept and what is left."""
    seen = left.journal.glance()
    over = len(recovered.ended)
    return (
        f"run {left.header.run} goes on at {recovered.at_s:.1f} s: {seen.items_done} of "
        f"{max(seen.items, seen.items_done)} items are done, {over} of {len(left.workflows)} "
        f"workflow{'' if len(left.workflows) == 1 else 's'} over"
    )


def _targets(
    kept: Mapping[str, str], out: Path | None, json_: str | None, timeline: Path | None
) -> Targets:
    """Return the files to write: those given now, else those the run was started with."""

    def path(given: Path | None, option: str) -> Path | None:
        return given if given is not None else Path(kept[option]) if option in kept else None

    targets = Targets(path(out, "out"), json_ or kept.get("json"), path(timeline, "timeline"))
    try:
        targets.check()
    except FateError as error:
        raise FateError(f"{error}; the run was started with it, give another one") from None
    return targets
