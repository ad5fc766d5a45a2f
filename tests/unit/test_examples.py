"""Every example runs as its own first lines say: on fake devices here, some on real models."""

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import cluster_for

import fate
from fate.workflow.inputs import parse_assignments

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.yaml") if path.stem != "cluster")


@pytest.fixture(autouse=True)
def at_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where the commands are meant to be given; runs are kept elsewhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FATE_HOME", str(tmp_path))


def command(name: str) -> tuple[Path, dict[str, Any]]:
    """Return the workflow and the inputs of the command in an example's header."""
    text = (ROOT / "examples" / f"{name}.yaml").read_text(encoding="utf-8")
    header = text.partition("\nformat:")[0]
    found = re.search(r"fate run (.*)", header)
    words = shlex.split(found[1]) if found else [f"examples/{name}.yaml"]
    given = [value for option, value in itertools.pairwise(words) if option == "-i"]
    path = Path(words[0])
    assert path == Path("examples", f"{name}.yaml")
    return path, parse_assignments(fate.load_workflow(path), given)


def ran(name: str, **options: Any) -> fate.RunResult:
    """Run an example as its header says; every output is there and is something."""
    path, inputs = command(name)
    result = fate.run_sync(path, inputs, **options).check()
    assert result.summary.dropped_items == 0
    assert all(result.outputs.values()), result.outputs
    return result


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name: str) -> None:
    """On fake devices, from the command in its header to its outputs."""
    spec = fate.load_workflow(ROOT / "examples" / f"{name}.yaml")
    result = ran(name, cluster=cluster_for(spec))
    assert set(result.outputs) == set(spec.outputs)


def test_what_the_examples_are_examples_of() -> None:
    """Groups, rounds, branches, vectors and own tools are what they claim to be."""
    found = {
        name: ran(name, cluster=cluster_for(fate.load_workflow(f"examples/{name}.yaml"))).outputs
        for name in ("research", "grid", "rag")
    }
    assert len(found["research"]["notes"]) == len(found["grid"]["answers"]) == 4
    rag = found["rag"]
    assert rag["source"] == "Bread"  # fake vectors know which words texts share


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("name", ["rag", "grid"])
def test_an_example_runs_on_real_models(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine's cores, with the models it names."""
    monkeypatch.delenv("FATE_HOME")
    result = ran(name, policy="late-eft")
    assert result.summary.model_loads >= 2
    if name == "rag":
        assert result.outputs["source"] == "Bread"
