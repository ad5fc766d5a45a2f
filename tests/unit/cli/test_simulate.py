"""`fate simulate`: what it expects, and from where."""

import json
from pathlib import Path

import pytest
import typer
import yaml
from tests.fakes import fake_cluster
from typer.testing import CliRunner, Result

import fate
from fate.cli.simulate import simulate
from fate.domain.errors import FateError
from fate.store import RUN_FILE, RunStore
from fate.store.runs import describe

MODEL = "smollm2-135m-q4_0"
ON = fake_cluster([MODEL])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with a cluster file and a workflow that may write 400 tokens."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    cluster = ON.model_dump(mode="json", by_alias=True, exclude_unset=True)
    (tmp_path / "on.yaml").write_text(yaml.safe_dump({"format": "fate.cluster/1", **cluster}))
    (tmp_path / "w.yaml").write_text(workflow(400).to_yaml())
    return tmp_path


def workflow(longest: int) -> fate.Workflow:
    """Return a workflow of one call."""
    wf = fate.Workflow("w", roles={"fast": MODEL})
    wf.output("said", wf.llm("said", model="fast", prompt="Say it.", max_tokens=longest))
    return wf


def call(*arguments: str) -> Result:
    """Run the command on the workflow."""
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, ["w.yaml", "--cluster", "on.yaml", *arguments])


def written(*arguments: str) -> list[int]:
    """Return the output tokens of every item of a simulation."""
    result = call("--decisions", *arguments)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0]["simulated"]
    events = [event for line in lines[1:] for event in line.get("events", ())]
    return [event["output_tokens"] for event in events if event["type"] == "ItemDone"]


def test_a_simulated_run_is_listed_with_the_items_it_did() -> None:
    """Although no output of them is stored."""
    assert call("--copies", "3").exit_code == 0
    (listed,) = [describe(run / RUN_FILE) for run in RunStore().list()]
    assert (listed.simulated, listed.items_done, listed.items) == (True, 3, 3)


def test_without_a_run_the_longest_answer_is_expected() -> None:
    """The file says no more, and nothing was seen; each copy is a workflow of its own."""
    assert written() == [400]
    assert written("--copies", "3") == [400] * 3


def test_like_a_run_means_its_lengths_and_not_those_of_other_runs() -> None:
    """Two runs wrote different lengths; the machine's history is their mean."""
    short, long = (fate.run_sync(workflow(n), cluster=ON).check() for n in (10, 90))
    (few,), (many,), (mean,) = written("--like", short.id), written("--like", long.id), written()
    assert few < mean < many
    assert mean == pytest.approx((few + many) / 2, abs=1)


def test_like_a_run_without_answers_is_refused() -> None:
    """A simulated run counts as any other; one whose workflow did not get as far does not."""
    fate.run_sync(workflow(10), cluster=ON).check()
    assert call("--like", "last").exit_code == 0
    wf = fate.Workflow("w", roles={"fast": MODEL})
    wf.llm("said", model="fast", prompt="{{ inputs.x[5] }}", max_tokens=4)
    wf.input("x", kind="json")
    failed = fate.run_sync(wf, {"x": []}, cluster=ON)
    assert failed.status == "failed"
    refused = call("--like", failed.id)
    assert isinstance(refused.exception, FateError)
    assert f"--like {failed.id}: the run has answered nothing" in str(refused.exception)
