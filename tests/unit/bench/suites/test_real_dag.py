"""`real-dag`: its frozen list, and a whole run on files."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.instances import Tasks, document

from fate.bench.offline import OFFLINE
from fate.bench.suites import real_dag
from fate.bench.suites.command import Options, run_suite
from fate.bench.suites.record import check_page
from fate.bench.suites.results import RESULTS, append, read_runs
from fate.bench.suites.suite import Choice
from fate.bench.workloads.regimes import REGIMES
from fate.domain.errors import FateError


def test_the_full_list() -> None:
    """5 regimes x 3 clusters x 2 loads x 4 seeds, the headline's tail, the mapping tokens."""
    found = real_dag.problems(Choice(seeds=range(4)))
    assert len(found) == 5 * 3 * 2 * 4 + 4 * 4 + 4 * 4
    assert len({(p.cell, p.seed) for p in found}) == len(found)
    tails = Counter(p.spec.regime for p in found if p.spec.workflows == 12)
    assert tails == {"balanced": 4, "switch": 4, "transfer": 4, "prefix": 4}


def test_the_quick_list() -> None:
    """Two workflows, two clusters, no control."""
    found = real_dag.problems(Choice(seeds=(0, 1), quick=True))
    assert len(found) == 4 * 2 * 2
    assert {p.spec.cluster for p in found} == {"mild", "hetero"}
    assert {p.spec.workflows for p in found} == {2}


def test_cells_draw_workflows_of_their_own() -> None:
    """Equal seeds in two cells are two instances."""
    specs = [real_dag.ProxySpec(cluster="mild", regime=regime, workflows=2) for regime in REGIMES]
    assert len({tuple(spec.numbers(0)) for spec in specs}) == len(REGIMES)


def instance_folder(folder: Path) -> Path:
    """Write three small instances of different widths."""
    folder.mkdir()
    for width in (3, 4, 5):
        tasks: Tasks = {"a_1": (1.0, 10, [])}
        tasks |= {f"b_{i}": (2.0 + i, 100 * i, ["a_1"]) for i in range(width)}
        tasks |= {"c_1": (3.0, 50, [f"b_{i}" for i in range(width)])}
        (folder / f"app{width}-1.json").write_text(json.dumps(document(tasks)))
    return folder


@pytest.mark.slow
def test_a_whole_run_on_files(tmp_path: Path) -> None:
    """Headline and grid are there, with ratios over the labels; nothing is generated."""
    folder = instance_folder(tmp_path / "dags")
    options = Options(
        seeds="7",
        quick=True,
        policies="late-eft,heft,sufferage,sufferage-state",
        processes=1,
        instances=folder,
        record=tmp_path / "results.md",
    )
    lines: list[str] = []
    run_suite("real-dag", tmp_path / "out", lines.append, options)
    rows = {
        (r["cell"], r["policy"], r["metric"]): r
        for r in json.loads((tmp_path / "out" / "summary.json").read_text())
    }
    assert rows["headline", "late-eft", "makespan_over_round-robin"]["n"] == 4
    assert rows["grid", "late-eft", "makespan_over_best-published"]["n"] == 8
    assert rows["grid", "late-eft", "makespan_over_heft"]["mean"] == pytest.approx(
        1 / rows["grid", "heft", "makespan_over_late-eft"]["mean"]
    )
    assert rows["mild/switch/W2", "round-robin", "load_share"]["mean"] == pytest.approx(
        REGIMES["switch"].load, abs=0.05
    )
    assert len(list((tmp_path / "out" / "calibration").iterdir())) == 8
    assert any("seeds 7" in line for line in lines)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "round-robin: " in page
    assert "late-eft: " in page
    assert f"--instances {folder}" in page
    results = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "### headline" in results
    assert "because its numbers resemble the paper's" in results


@pytest.mark.parametrize("record", ["a-folder", "a-file/results.md"])
def test_earlier_rows_outlive_what_is_refused(tmp_path: Path, record: str) -> None:
    """A page that cannot be written, a folder without instances: said before anything is run."""
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "a-file").touch()
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").write_text("{}")
    folder = instance_folder(tmp_path / "dags")
    options = Options(seeds="0", quick=True, instances=folder, record=tmp_path / record)
    with pytest.raises(OSError, match=record.partition("/")[0]):
        run_suite("real-dag", out, lambda _: None, options)
    options = Options(seeds="0", quick=True, instances=tmp_path / "a-folder")
    with pytest.raises(FateError, match="no WfFormat instance"):
        run_suite("real-dag", out, lambda _: None, options)
    assert (out / "results.jsonl").read_text() == "{}"


def test_a_page_of_results_is_not_made_by_looking(tmp_path: Path) -> None:
    """Whether it can be written is asked without a trace."""
    check_page(tmp_path / "new" / "results.md")
    assert not (tmp_path / "new" / "results.md").exists()
    page = tmp_path / "results.md"
    page.write_text("# Results")
    check_page(page)
    assert page.read_text() == "# Results"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """One line says what was looked for."""
    options = Options(seeds="0", quick=True, processes=1, instances=tmp_path)
    with pytest.raises(FateError, match="no WfFormat instance"):
        run_suite("real-dag", tmp_path / "out", lambda _: None, options)


def test_a_resumed_report_has_no_chart_of_the_offline_best(tmp_path: Path) -> None:
    """It is no policy that could be run again to see what happened when."""
    folder = instance_folder(tmp_path / "dags")
    options = Options(seeds="0", quick=True, policies="late-eft", processes=1, instances=folder)
    out, lines = tmp_path / "out", list[str]()
    run_suite("real-dag", out, lines.append, options)
    offline = tuple(
        [
            msgspec.structs.replace(run, policy=OFFLINE)
            for run in read_runs(out)
            if run.policy == "late-eft"
        ]
    )
    append(out / RESULTS, offline)
    again = dataclasses.replace(options, policies=OFFLINE, resume=True)
    run_suite("real-dag", out, lines.append, again)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert OFFLINE in page
    assert "One instance, two policies" not in page
    assert f"rows of another list, code or settings, set aside in {out / 'aside'}: 8" in lines
