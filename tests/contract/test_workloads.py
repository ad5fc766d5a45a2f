"""What a workload promises, checked for every one that is registered.

The same seed gives the same workflows, another seed others; graphs are acyclic and every part of
them can be submitted; workflows are in order of arrival.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from fate.bench.workloads.draft import Arrival
from fate.bench.workloads.hardware import MODELS
from fate.bench.workloads.native import TEMPLATES
from fate.registry import BUILTIN, build, names

SEEDS = (0, 1, 7)
COUNT = 6

#: Workload -> options that make it small; others go with what they have.
_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "llm-native": [{"templates": name} for name in sorted(TEMPLATES)] + [{}],
    "prefix-reuse": [{"share": share} for share in (0.0, 0.5, 0.9)] + [{"zipf": 1.2, "groups": 3}],
    "trace": [{}, {"speed": 3.0}],
}
CASES = [
    pytest.param(name, options, id=f"{name}-{'-'.join(map(str, options.values()))}")
    for name in sorted(BUILTIN["workload"])
    for options in _OPTIONS.get(name, [{}])
]


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Make a workload by name; those that read a file get a small one."""

    def make(name: str, seed: int, options: dict[str, Any]) -> list[Arrival]:
        if name == "trace":
            options = {**options, "path": str(tiny_trace(tmp_path / "trace.jsonl"))}
        return cast("list[Arrival]", build("workload", name, seed=seed, count=COUNT, **options))

    return make


def tiny_trace(path: Path) -> Path:
    """Twenty conversations of three turns, as rows that contain the ones before."""
    rows = [
        {
            "timestamp": 1000 * (number + 40 * turn),
            "input_length": 512 * (2 + turn) + 100,
            "output_length": 50 + number,
            "hash_ids": [0, *range(100 * number + 1, 100 * number + 2 + turn), 100 * number + 90],
        }
        for turn in range(3)
        for number in range(20)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "options"), CASES)
def test_workload_contract(name: str, options: dict[str, Any], made: Any) -> None:
    """Seed-stable, acyclic, arrivals non-decreasing, on models of the catalogue."""
    for seed in SEEDS:
        arrivals = made(name, seed, options)
        assert arrivals == made(name, seed, options)
        times = [arrival.at_s for arrival in arrivals]
        assert times[0] == 0.0 and times == sorted(times)
        ids = [arrival.declared.id for arrival in arrivals]
        assert len(set(ids)) == len(ids) == COUNT
        for arrival in arrivals:
            check(arrival)
    assert made(name, 0, options) != made(name, 1, options)


def check(arrival: Arrival) -> None:
    """Parents stand before their children, prompts hold tokens, models exist."""
    for graph in (arrival.declared, arrival.actual):
        seen: set[str] = set()
        for stage in graph.stages:
            assert set(stage.parents) <= seen
            seen.add(stage.id)
            if stage.kind == "llm":
                assert stage.model in MODELS and stage.prompt
                assert all(segment.tokens >= 1 for segment in stage.prompt)
                assert stage.max_tokens >= stage.output_tokens


@pytest.mark.parametrize("name", sorted({"llm-native", "prefix-reuse"}))
def test_hash_seeds_change_nothing(name: str) -> None:
    """Workloads in processes that hash strings differently are byte for byte the same."""
    found = {_bytes_under(name, hash_seed) for hash_seed in ("0", "1")}
    assert len(found) == 1 and found != {b""}


def _bytes_under(name: str, hash_seed: str) -> bytes:
    code = (
        "import hashlib, msgspec; from fate.registry import build; "
        f"made = build('workload', {name!r}, seed=3, count=14); "
        "graphs = [[each.declared, each.actual] for each in made]; "
        "print(hashlib.sha256(msgspec.json.encode(graphs)).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
    )
    return done.stdout


def test_workloads_can_be_stored() -> None:
    """Graphs are values that a journal takes."""
    for name in names("workload"):
        if name != "trace":
            graph = cast("list[Arrival]", build("workload", name, seed=0, count=1))[0].declared
            assert msgspec.json.decode(msgspec.json.encode(graph), type=type(graph)) == graph
