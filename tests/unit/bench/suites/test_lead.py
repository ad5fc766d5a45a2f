"""The lead over several suites: which runs count, and what is said where there are none."""

from pathlib import Path

import pytest
from tests.unit.bench.suites.rows import row

from fate.bench.suites.chosen import chosen
from fate.bench.suites.lead import lead
from fate.bench.suites.results import RESULTS, Run, append
from fate.domain.errors import FateError


def problem(suite: str, cell: str, ours_s: float, best_s: float, **changes: object) -> list[Run]:
    """Return what foresight and the suite's best baseline take for a problem."""
    figures = (("foresight", ours_s), (chosen(suite).late, best_s))
    return [row(policy, s, suite=suite, cell=cell, **changes) for policy, s in figures]


def folders(tmp_path: Path, *suites: list[Run]) -> list[Path]:
    """Write each list as the results of a suite."""
    found = [tmp_path / str(i) for i in range(len(suites))]
    for folder, runs in zip(found, suites, strict=True):
        folder.mkdir()
        append(folder / RESULTS, runs)
    return found


def test_cells_of_both_suites_count_and_the_control_does_not(tmp_path: Path) -> None:
    """By hand: .5 and .8 have the geometric mean .632, .5 and .2 .316; one of 1.1 makes .761."""
    control = {"cluster": "mild", "regime": "compute", "workflows": 2}
    dags = problem("real-dag", "mild/switch/W2", 5.0, 10.0)
    dags += problem("real-dag", "mild/compute/W2", 30.0, 10.0, settings=control)
    calls = problem("llm-native", "vote", 8.0, 10.0)
    calls += problem("llm-native", "known/vote", 2.0, 10.0, settings={"known": True})
    said: list[str] = []
    assert lead(tmp_path / "one", said.append, folders(tmp_path, dags, calls)) == 0
    assert "reached  both foresight makespan_over_best-baseline: 0.632" in "\n".join(said)
    assert "reached  both known foresight makespan_over_best-baseline: 0.316" in "\n".join(said)
    calls += problem("llm-native", "rag", 11.0, 10.0)
    (tmp_path / "more").mkdir()
    assert lead(tmp_path / "two", said.append, folders(tmp_path / "more", dags, calls)) == 1
    assert "MISSED   both foresight cells_lost_to_best-baseline: 1" in said[-4]
    assert "0.761" in said[-5]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """An empty folder, and one without the second suite."""
    with pytest.raises(FateError, match=r"results\.jsonl: no runs; `fate bench real-dag`"):
        lead(tmp_path / "out", print, [tmp_path / "nothing"])
    dags = folders(tmp_path, problem("real-dag", "mild/switch/W2", 5.0, 10.0))
    with pytest.raises(FateError, match="foresight and latency-aware on llm-native's all"):
        lead(tmp_path / "out", print, dags)
