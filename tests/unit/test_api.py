"""Running from Python, on fake devices: results, own tools, failures, cancellation."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import fake_cluster
from tests.waiting import ended, listening

import fate
from fate import FateError, RunFailedError, Workflow
from fate.store.journal import Journal
from fate.workflow.problems import WorkflowError

ON = fake_cluster(["smollm2-135m-q4_0"])
OWN = Path(__file__).parents[1] / "own_tools.py"
ROLES = {"fast": "smollm2-135m-q4_0"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep runs in a folder of the test's own, and work there; it has a module `own_tools`."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(OWN, tmp_path / "own_tools.py")
    return tmp_path


def own(function: str, pure: bool = False, **args: object) -> Workflow:
    """Return a workflow of one own tool."""
    wf = Workflow("w", roles=ROLES)
    wf.output("value", wf.python("t", function=f"own_tools:{function}", args=args, pure=pure))
    return wf


def test_a_file_a_spec_and_a_builder_run_alike(home: Path) -> None:
    """Outputs, figures and the run's file; progress is told."""
    wf = Workflow("w", roles=ROLES)
    wf.output("said", wf.llm("said", model="fast", prompt=f"{wf.input('x')}", max_tokens=4))
    (home / "w.yaml").write_text(wf.to_yaml())
    lines: list[str] = []
    results = [
        fate.run_sync(each, {"x": "one"}, cluster=ON, seed=3, on_progress=lines.append)
        for each in (home / "w.yaml", str(home / "w.yaml"), wf, wf.to_spec())
    ]
    assert lines and len({result.outputs["said"] for result in results}) == 1
    result = results[0].check()
    assert result.status == "ok" and not result.reasons and result.summary.seed == 3
    figures = result.as_json()
    assert figures["outputs"] == dict(result.outputs) and figures["journal"] == str(result.path)
    assert result.path.is_relative_to(home) and result.path.parent.name == result.id
    with Journal.open(result.path) as journal:
        assert journal.header.run == result.id and list(journal.records())


def test_many_inputs_share_the_devices() -> None:
    """One result for each, in order."""
    wf = Workflow("w", roles=ROLES)
    wf.output("said", wf.llm("said", model="fast", prompt=f"{wf.input('x')}", max_tokens=4))
    result = fate.run_sync(wf, each=[{"x": "a"}, {"x": "b"}], cluster=ON)
    assert len({found["said"] for found in result.results}) == 2
    assert set(result.as_json()["outputs"]) == {"w-0", "w-1"}
    with pytest.raises(FateError, match="each: no inputs"):
        fate.run_sync(wf, each=[], cluster=ON)


def test_mistakes_are_errors_before_anything_runs(home: Path) -> None:
    """Nothing is left behind of a run that was not accepted."""
    wf = own("double", x=[1])
    with pytest.raises(WorkflowError, match="unknown input 'y'"):
        fate.run_sync(wf, {"y": 1}, cluster=ON)
    with pytest.raises(FateError, match="role 'fast' means model 'smollm2-135m-q4_0'"):
        fate.run_sync(wf, cluster=fake_cluster(["smollm2-135m-f16"]))

    async def inside() -> None:
        fate.run_sync(wf, cluster=ON)

    with pytest.raises(FateError, match=r"write `await fate\.run"):
        asyncio.run(inside())
    assert not (home / "home" / "runs").exists()


def test_own_tools_run_and_fail_as_the_file_says() -> None:
    """A value, and a failure with its reason; the workflow's outputs are what was reached."""
    assert fate.run_sync(own("double", x=[1]), cluster=ON).check().outputs == {"value": [1, 1]}
    result = fate.run_sync(own("explode", message="boom"), cluster=ON)
    assert result.status == "failed" and result.outputs == {}
    assert "own_tools:explode raised RuntimeError: boom" in result.reasons[0]
    with pytest.raises(RunFailedError, match="boom") as caught:
        result.check()
    assert caught.value.result is result


@pytest.mark.parametrize(("pure", "runs"), [(True, 3), (False, 1)])
def test_only_what_is_pure_runs_again_after_its_process_was_lost(
    home: Path, pure: bool, runs: int
) -> None:
    """A run that may have had effects is not repeated, and the reason says so."""
    file = home / "runs.txt"
    result = fate.run_sync(own("count", pure, file=str(file)), cluster=ON)
    assert result.status == "failed" and "was killed by SIGKILL" in result.reasons[0]
    assert file.read_text().count("ran") == runs
    assert ("it is not run again (pure: false)" in result.reasons[0]) is not pure


def test_the_items_of_a_map_run_side_by_side(home: Path) -> None:
    """Up to the cluster's tool slots, whatever the number of devices."""
    wf = Workflow("w", roles=ROLES)
    met = wf.python(
        "met",
        function="own_tools:meet",
        map=wf.input("list", kind="json"),
        args={"here": "{{ item.here }}", "there": "{{ item.there }}"},
    )
    wf.output("met", met)
    one, other = (str(home / name) for name in ("one", "other"))
    os.mkfifo(one)
    os.mkfifo(other)
    ways = [{"here": one, "there": other}, {"here": other, "there": one}]
    result = fate.run_sync(wf, {"list": ways}, cluster=fake_cluster(ROLES.values(), 1))
    assert result.check().outputs["met"] == [True, True]


def test_two_runs_at_once_do_not_meet(home: Path) -> None:
    """Each has its own processes and its own file."""

    async def both() -> list[fate.RunResult]:
        runs = [fate.run(own("pid"), cluster=ON) for _ in range(2)]
        return await asyncio.gather(*runs)

    one, other = asyncio.run(both())
    assert one.check().outputs != other.check().outputs and one.path != other.path


def test_a_cancelled_run_ends_its_tools(home: Path) -> None:
    """The task ends, the process is gone, the run can be resumed."""
    file = home / "pids"

    async def stopped() -> list[int]:
        with listening(file) as line:
            task = asyncio.create_task(fate.run(own("hang_with_child", file=str(file)), cluster=ON))
            pids = [int(each) for each in (await asyncio.to_thread(line)).split()]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pids

    for pid in asyncio.run(stopped()):
        ended(pid)


SCRIPT = """
import fate
from tests.fakes import fake_cluster

@fate.tool(pure=True, timeout_s=20, memory="256MiB")
def score(text: str, limit: int = 3) -> dict[str, int]:
    return {"words": min(len(text.split()), limit)}

wf = fate.Workflow("notes", roles={"fast": "smollm2-135m-q4_0"})
said = wf.llm("said", model="fast", prompt="Say", max_tokens=5)
scored = wf.call(score, "scored", text=said, limit=4)
wf.output("words", scored["words"])
GUARD
    result = fate.run_sync(wf, cluster=fake_cluster(["smollm2-135m-q4_0"]))
    print(result.status, dict(result.outputs), *result.reasons)
"""


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("if __name__ == '__main__':", "ok {'words': 4}"),
        ("if True:", "put the call below `if __name__ == '__main__':`"),
    ],
)
def test_a_script_with_its_own_tool(home: Path, guard: str, said: str) -> None:
    """The tool's process imports the script; one that would run itself again is told."""
    (home / "notes.py").write_text(SCRIPT.replace("GUARD", guard))
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "notes.py"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said in done.stdout, done.stdout + done.stderr


def test_tools_are_functions_with_options(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay what they are; what cannot be called by another process is refused."""
    (home / "decorated.py").write_text(
        "import fate\n\n@fate.tool\ndef half(x: list[int], y: int = 1) -> list[int]:\n"
        "    return x[::2]\n\ndef plain(): ...\n\ndef outer():\n    @fate.tool\n"
        "    def inner(): ...\n    return inner\n"
    )
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    import decorated  # pyright: ignore[reportMissingImports] - written above

    module: Any = decorated
    assert module.half([1, 2, 3]) == [1, 3]
    wf = Workflow("w", roles=ROLES)
    halves = wf.call(module.half, "", {"map": wf.input("lists", kind="json")}, x=fate.ITEM, y=2)
    wf.output("halves", halves)
    result = fate.run_sync(wf, {"lists": [[1, 2, 3], [4]]}, cluster=ON)
    assert result.check().outputs == {"halves": [[1, 3], [4]]}
    for function, arguments, what in (
        (module.plain, {}, "plain is no tool: put `@fate.tool` above it"),
        (module.outer(), {}, "inner: a tool stands at the top level of a module"),
        (module.half, {"z": 1}, "half: missing a required argument: 'x'"),
        (module.half, {"x": fate.ITEM, "y": "1"}, ""),
        (module.half, {"x": 3}, "half: argument 'x': Input should be a valid list"),
    ):
        fresh = Workflow("w", roles=ROLES)
        if what:
            with pytest.raises(WorkflowError, match=what):
                fresh.call(function, "s", **arguments)
        else:
            fresh.call(function, "s", **arguments)
