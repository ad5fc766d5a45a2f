"""`fate compare`, and the verdict's what-ifs."""

import re
from pathlib import Path

import msgspec
import pytest
import typer
from tests.graphs import MIB, cluster, mixed, profile
from typer.testing import CliRunner, Result

from fate.cli.compare import Comparison, candidates, compare
from fate.cli.verdict import another_device, more_memory, verdict
from fate.core.options import SchedulerOptions
from fate.domain.catalog import Link
from fate.domain.errors import FateError
from fate.domain.faults import Fault
from fate.domain.messages import Record
from fate.drivers.faulty import simulate_faults
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.policy.baselines.greedy import LateEft
from fate.store import RUN_FILE, Header, Journal, RunStore
from fate.view.fold import Fold

POLICIES = ["--policies", "round-robin,idle-affinity"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A simulated run of the mixed work in a home of its own."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    of = cluster()
    outcome = simulate(
        [(0.0, graph) for graph in mixed()],
        Setup(cluster=of, profile=profile(of), policy=LateEft()),
    )
    return stored(outcome.records)


def stored(records: tuple[Record, ...]) -> Path:
    """Write records as a run file."""
    of, path = cluster(), RunStore().new() / RUN_FILE
    header = Header(
        run=path.parent.name,
        created_at="2026-11-24T10:00:00+00:00",
        simulated=True,
        policy="late-eft",
        cluster=of,
        options=SchedulerOptions(),
        profile=profile(of),
    )
    with Journal.create(path, header) as journal:
        for record in records:
            journal.append(record)
        journal.set_end("ok")
    return path


def call(*arguments: str) -> Result:
    """Run the command."""
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.usefixtures("run")
def test_the_run_its_own_policy_and_the_others_are_rows() -> None:
    """The simulation of a simulated run is that run: 1.00; all say that they are simulated."""
    result = call("last", *POLICIES, "--json")
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.output, type=Comparison)
    assert found.simulated
    assert [row.policy for row in found.rows] == [
        "late-eft",
        "late-eft",
        "round-robin",
        "idle-affinity",
    ]
    run, own, other, _ = found.rows
    assert (own.makespan_s, own.loads) == pytest.approx((run.makespan_s, run.loads))
    assert own.over_run == own.over_own == 1.0
    assert other.over_own == pytest.approx(other.makespan_s / run.makespan_s)


@pytest.mark.usefixtures("run")
def test_the_table_says_simulated_and_shows_the_simulators_own_error() -> None:
    """Both in words."""
    result = call("last", *POLICIES, "--seeds", "2")
    assert result.output.startswith("simulated: the work of")
    assert "1.00 of the run" in result.output


@pytest.mark.usefixtures("run")
def test_an_objective_goes_to_the_policies_that_take_one() -> None:
    """The run's own stays as it was, and is a row of its own; where none does, that is an error."""
    mean = {"mean": 10.0, "tail": 0.0}
    assert candidates("foresight", ["eft", "foresight"], "mean") == [
        ("foresight", {}),
        ("eft", {}),
        ("foresight", mean),
    ]
    assert candidates("eft", ["eft", "foresight"], None) == [("eft", {}), ("foresight", {})]
    refused = call("last", "--policies", "eft,late-eft", "--objective", "mean")
    assert isinstance(refused.exception, FateError)
    assert "policy 'eft' takes no objective" in str(refused.exception)


def test_what_is_repeated_of_a_run_that_went_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is lost in the simulations too."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    of = cluster()
    setup = Setup(cluster=of, profile=profile(of), policy=LateEft())
    kill = Fault(kind="kill", device="d0", at_s=1.3)
    path = stored(simulate_faults([(0.0, g) for g in mixed()], setup, (kill,)).records)
    result = call(str(path), "--policies", "round-robin")
    assert (
        "went wrong in the run and does so again: 0 attempts, 1 loss of a device, "
        "0 refused loads, 0 slow spells" in result.output
    )


def test_slow_spells_are_repeated_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no part of what calls cost."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    of = cluster()
    setup = Setup(
        cluster=of,
        profile=msgspec.structs.replace(profile(of), source="declared"),
        policy=LateEft(),
        options=SchedulerOptions(chunk_s=0),
    )
    slow = Fault(kind="slow", device="d1", at_s=1.3, factor=40.0)
    path = stored(simulate_faults([(0.0, g) for g in mixed()], setup, (slow,)).records)
    result = call(str(path), "--policies", "round-robin")
    assert re.search(r"does so again: .*, 0 refused loads, 1 slow spell\n", result.output)


def test_a_refused_load_is_refused_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number on the device: under the run's own policy the same load, at the same time."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    of = cluster()
    setup = Setup(cluster=of, profile=profile(of), policy=LateEft())
    refused = Fault(kind="refuse_load", device="d0", activity="load", count=2)
    path = stored(simulate_faults([(0.0, g) for g in mixed()], setup, (refused,)).records)
    result = call(str(path), "--policies", "round-robin", "--json")
    found = msgspec.json.decode(result.output, type=Comparison)
    assert (found.failures, found.losses, found.refusals) == (0, 0, 1)
    run, own, _ = found.rows
    assert own.makespan_s == pytest.approx(run.makespan_s)


def test_another_cluster_must_have_the_models(run: Path, tmp_path: Path) -> None:
    """One line that says what is missing where."""
    other = tmp_path / "other.yaml"
    other.write_text(
        "format: fate.cluster/1\n"
        "models: {A: {source: 'pypi:smollm2-135m-q4_0'}}\n"
        "devices: {big: {engine: fake, memory: 1GiB}}\n"
    )
    result = call(str(run), "--cluster", str(other))
    assert isinstance(result.exception, FateError)
    assert "no model 'B'" in str(result.exception)


@pytest.mark.usefixtures("run")
def test_an_unknown_policy_is_refused() -> None:
    """By the registry, with a hint."""
    result = call("last", "--policies", "late-eff")
    assert isinstance(result.exception, FateError)
    assert "late-eft" in str(result.exception)


def test_a_run_without_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed before its first record."""
    monkeypatch.setenv("FATE_HOME", str(tmp_path))
    result = call(str(stored(())))
    assert isinstance(result.exception, FateError)


def test_the_verdict_simulates_what_more_would_have_saved(run: Path) -> None:
    """Three models that do not fit beside each other: memory helps, a third device too."""
    fold = Fold(cluster())
    with Journal.open(run) as journal:
        for record in journal.records():
            fold.add(record)
    first, second = verdict(fold, run)
    assert first.startswith("verdict: ")
    assert second.startswith("simulated: of ")
    assert "another device like the first saves" in second
    assert "memory for two models on each" in second


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [("MOST_ITEMS", 5, "items are more than 5"), ("MOST_S", 0.0, "it takes more than 0 s")],
)
def test_simulations_that_would_keep_the_user_waiting_are_not_done(
    run: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, why: str
) -> None:
    """The line says so, and what does it."""
    monkeypatch.setattr(f"fate.cli.verdict.{limit}", value)
    fold = Fold(cluster())
    with Journal.open(run) as journal:
        for record in journal.records():
            fold.add(record)
    first, second = verdict(fold, run)
    assert first.startswith("verdict: ")
    assert second.startswith("simulated: not done at the end of a run: ") and why in second


def test_more_memory_is_room_for_the_two_largest_used_models() -> None:
    """Devices that have it keep theirs; None where nobody lacks it."""
    larger = more_memory(cluster(memory_mib=70), {"A", "B"})
    assert larger is not None
    assert [device.memory_bytes for device in larger.devices] == [81 * MIB] * 2
    assert more_memory(cluster(memory_mib=100), {"A", "B"}) is None
    assert more_memory(cluster(), {"A"}) is None


def test_another_device_has_the_links_of_the_first() -> None:
    """Otherwise moves to it would cost nothing."""
    of = msgspec.structs.replace(cluster(), links=(Link(source="d0", target="d1", bytes_per_s=9),))
    more = another_device(of)
    assert [device.id for device in more.devices] == ["d0", "d1", "another-d0"]
    assert [(link.source, link.target) for link in more.links] == [
        ("d0", "d1"),
        ("another-d0", "d1"),
    ]
