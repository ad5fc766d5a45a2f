"""`fate bench`: what is asked for reaches the measurement, what is wrong does not."""

import errno
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fate.bench import latency, live, oracle, scale
from fate.bench.suites import command
from fate.cli.bench import app
from fate.domain.errors import FateError


def call(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oracle", "--seeds", ""], "'' is no seed"),
        (["oracle", "--seeds", "0,x"], "'x' is no seed"),
        (["scale", "--policies", "fat"], "did you mean 'fate'"),
        (["scale", "--policies", "fate?depht=1"], "unknown field `depht`"),
        (["real-dag", "--policies", "fate?depth=9"], "depth must be 0 to 3"),
        (["real-dag", "--seeds", "5-3"], "no range of 1 to 1000 seeds"),
        (["trace"], "--trace FILE"),
        (["live", "--seeds", "0-"], "'0-' is no seed"),
        (["live", "--cells", "mixd"], "no cell 'mixd'"),
        (["live", "--policies", "fat"], "did you mean 'fate'"),
        (["live", "--policies", "fate+parc"], "no switch 'parc'"),
        (["live", "--policies", ", "], "no name given"),
        (["live", "--tier", "reel"], "no tier 'reel'"),
        (["latency", "--policies", "late-eft?x=1"], "late-eft"),
        (["latency", "--policies", "heft"], "'heft' binds calls as they arrive"),
    ],
)
def test_what_is_wrong_is_one_error(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Nothing is written before."""
    done = call(*arguments, "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, FateError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["live", "--pairs", "3"], ["live", "--jobs", "2"], ["latency", "--resume"]]
)
def test_what_a_measurement_has_no_use_for_is_no_option(arguments: list[str]) -> None:
    """Exit code 2, and the option is named."""
    done = call(*arguments)
    assert done.exit_code == 2
    assert arguments[1] in done.output


@pytest.mark.parametrize("name", ["real-dag", "oracle", "scale"])
def test_no_process_at_all_is_refused(name: str) -> None:
    """Exit code 2, and the option is named."""
    done = call(name, "--jobs", "0")
    assert done.exit_code == 2
    assert "--jobs" in done.output


def test_a_full_disk_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes to an open file do not say it themselves."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command, "run_suite", full)
    done = call("load", "--out", str(tmp_path))
    assert isinstance(done.exception, OSError)
    assert done.exception.filename == str(tmp_path)


def test_oracle_and_scale_take_the_options_of_suites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds as numbers in the report's command; a quick run is a small one."""
    asked: list[tuple[Any, str]] = []

    def keep(_out: Path, _echo: object, plan: object, text: str) -> None:
        asked.append((plan, text))

    monkeypatch.setattr(oracle, "oracle", keep)
    monkeypatch.setattr(scale, "scale", keep)
    options = ["--quick", "--seeds", "0-9", "--policies", "late-eft", "--jobs", "2", "--resume"]
    for name in ("oracle", "scale"):
        assert call(name, *options, "--out", str(tmp_path)).exit_code == 0
    (case, said), (sizes, _) = asked
    assert said == "fate bench oracle --seeds 0,1,2,3 --quick --policies late-eft"
    assert (case.seeds, case.processes, case.resume) == ([0, 1, 2, 3], 2, True)
    assert (list(sizes.sizes), sizes.policies) == (list(scale.QUICK), ["late-eft"])
    assert {size.devices for size in scale.FULL} == {16, 64}
    assert {1_000, 10_000} <= {size.stages for size in scale.FULL}


def test_live_and_latency_say_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seeds unless others are named, one in a quick run; numbers as they are used."""
    asked: list[tuple[Any, str]] = []

    def keep(_out: Path, _echo: object, plan: object, text: str) -> None:
        asked.append((plan, text))

    monkeypatch.setattr(live, "live", keep)
    monkeypatch.setattr(latency, "latency", keep)
    chosen = ["--cells", "chains", "--policies", "fate,fate+park", "--park"]
    for arguments in (
        ["live"],
        ["live", "--seeds", "4-9", "--quick", "--resume", *chosen],
        ["latency", "--quick"],
        ["latency", "--policies", "foresight", "--repeat", "2"],
    ):
        assert call(*arguments, "--out", str(tmp_path)).exit_code == 0
    (plan, _), (quick, said), (few, _), (one, told) = asked
    assert (plan.seeds, plan.policies, plan.resume) == ([0, 1, 2], None, False)
    assert (quick.seeds, quick.policies, quick.resume) == ([4], ["fate", "fate+park"], True)
    assert said == (
        "fate bench live --cells chains --policies fate,fate+park --seeds 4 --tier synthetic --park"
    )
    assert (few.policies, few.decisions, few.repeat) == (("fate", "late-eft"), 50, 1)
    assert one.policies == ["foresight"]
    assert told == "fate bench latency --policies foresight --decisions 300 --repeat 2"
