"""The demo workflow on the real thing: the models of the default set, two devices, `fate`."""

import asyncio
from pathlib import Path

import jsonschema
import pytest

from fate.jobs import Job, load_job
from fate.session import (
    Choice,
    Finished,
    fetch_weights,
    known_profile,
    open_engines,
    run_job,
)
from fate.store.journal import Journal
from fate.workflow.spec import LlmStage

EXAMPLE = Path(__file__).parents[2] / "examples" / "brief.yaml"


async def run(job: Job, weights: dict[str, Path], journal: Path) -> Finished:
    """Run a job from start to end."""
    async with asyncio.timeout(240.0), open_engines(job, weights, journal.parent) as engines:
        return await run_job(
            job, engines, Choice(policy="fate"), profile=known_profile(job), journal_path=journal
        )


@pytest.mark.weights
@pytest.mark.slow
def test_the_demo_writes_a_brief(tmp_path: Path) -> None:
    """Every output has text, the JSON one keeps to its schema, and all three models worked."""
    job = load_job(EXAMPLE)
    weights = fetch_weights(job, lambda _: None)
    assert len(weights) == 3
    finished = asyncio.run(run(job, weights, tmp_path / "run.sqlite"))
    assert finished.status == "ok"
    (results,) = finished.results
    texts = (results["headline"], results["summary"], results["question"])
    assert all(isinstance(text, str) and text.strip() for text in texts)
    stage = job.program.spec.stages["facts"]
    assert isinstance(stage, LlmStage) and stage.answer_schema
    facts = {name: results[name] for name in ("title", "keywords")}
    jsonschema.validate(facts, stage.answer_schema)
    with Journal.open(tmp_path / "run.sqlite") as journal:
        engines = {name for engine in journal.header.engines for name in engine["models"]}
        assert set(weights) <= engines and list(journal.records())
