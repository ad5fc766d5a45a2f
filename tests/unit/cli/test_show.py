"""What is shown of a run that goes on: old records are read behind, in order."""

import asyncio
from pathlib import Path

import pytest
from tests.stopped_runs import job, run_to_end

from fate.cli.show import Show
from fate.session import Choice
from fate.store.journal import Journal
from fate.view.fold import fold


@pytest.mark.parametrize("watched", [True, False])
def test_old_records_are_read_before_new_ones(tmp_path: Path, *, watched: bool) -> None:
    """Bit by bit while the run goes on, or when the history is asked for."""
    path = tmp_path / "run.sqlite"
    asyncio.run(run_to_end(path, job()))
    with Journal.open(path) as journal:
        records = list(journal.records())
    half = len(records) // 2
    show = Show(job(), Choice(), quiet=True, plain=True)
    show.recall(records[:half])

    async def go_on() -> None:
        async with show.watching():
            for record in records[half:]:
                show.add(record)
                await asyncio.sleep(0)

    if watched:
        asyncio.run(go_on())
    else:
        for record in records[half:]:
            show.add(record)
    assert show.fold.history() == fold(job().resolved.cluster, records)
