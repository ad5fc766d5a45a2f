"""`paper-proxy`: what is made of an instance, and what a seed draws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.instances import Tasks, document

from fate.bench.workloads.proxy import (
    Scale,
    draw_workflows,
    instance_files,
    map_proxy,
    proxy_graph,
)
from fate.bench.workloads.toys import CLUSTERS, MODELS, toy_cluster, toy_profile
from fate.bench.workloads.wfformat import InstanceError, parse_instance

DIAMOND: Tasks = {
    "split_1": (1.0, 10, []),
    "work_1": (4.0, 1000, ["split_1"]),
    "work_2": (4.0, 1000, ["split_1"]),
    "join_1": (400.0, 10**9, ["work_1", "work_2"]),
}


def test_a_mapped_instance() -> None:
    """By hand: one model and one system prompt for each task type, middle tasks in the middle."""
    instance = parse_instance(document(DIAMOND), "toy-1", "toy")
    split, left, right, join = map_proxy(instance, 3, np.random.default_rng(0), {})
    assert [s.parents for s in (split, left, right, join)] == [(), ("t0",), ("t0",), ("t1", "t2")]
    assert left.model == right.model
    assert left.prefix == right.prefix
    assert left.prefix[1] == ("ctx:3", 1500)
    assert left.prefix[0][0] == "sys:toy/work"
    assert left.prefix[0][1] in (300, 800, 1500)
    assert left.output_tokens == 150.0
    assert split.output_tokens == pytest.approx(75.0)  # 150 x sqrt(1/4)
    assert join.output_tokens == 900.0  # 150 x sqrt(100) is over the bound
    assert left.output_bytes == pytest.approx(0.05e9)
    assert join.output_bytes == 1e9
    assert all(80 <= s.own_tokens < 500 for s in (split, left, right, join))


def test_types_of_one_application_have_one_prompt_length() -> None:
    """Two instances in a batch share a system prompt whole or not at all: equal key, equal size."""
    instance = parse_instance(document(DIAMOND), "toy-1", "toy")
    draw, system = np.random.default_rng(1), dict[str, int]()
    batch = [map_proxy(instance, number, draw, system) for number in range(8)]
    sizes = {prefix for workflow in batch for s in workflow for prefix in s.prefix[:1]}
    assert len(sizes) == 3


def test_scale_changes_what_it_names() -> None:
    """Prefixes and bytes are scaled, never to nothing; own tokens and answers are not."""
    instance = parse_instance(document(DIAMOND), "toy-1", "toy")
    stages = map_proxy(instance, 0, np.random.default_rng(0), {})
    graph = proxy_graph(stages, "w0", Scale(bytes=2.0, prefix=1e-6))
    assert [s.output_bytes for s in graph.stages] == [round(2 * s.output_bytes) for s in stages]
    assert [[p.tokens for p in s.prompt] for s in graph.stages] == [
        [1, 1, s.own_tokens] for s in stages
    ]
    assert len({s.prompt[2].key for s in graph.stages}) == 4
    assert [s.output_tokens for s in graph.stages] == [s.output_tokens for s in stages]


def test_seeds_draw_files(tmp_path: Path) -> None:
    """A seed draws which files run together: repeatable, each once before one comes twice."""
    for name in "abc":
        tasks = {f"{name}_{i}": (1.0, 1, list[str]()) for i in range(ord(name) - 90)}
        (tmp_path / f"{name}-1.json").write_text(json.dumps(document(tasks)))
    (tmp_path / "stats.json").write_text('{"rows": []}')
    assert [path.stem for path in instance_files(tmp_path)] == ["a-1", "b-1", "c-1"]
    drawn = [draw_workflows([seed], 3, tmp_path) for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3]
    assert all(sorted(map(len, batch)) == [7, 8, 9] for batch in drawn)
    assert len({tuple(map(len, batch)) for batch in drawn}) > 1


def test_a_folder_without_instances_is_refused(tmp_path: Path) -> None:
    """The message says what was looked for, and where."""
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(InstanceError, match=f"{tmp_path}: no WfFormat instance"):
        draw_workflows([0], 2, tmp_path)


@pytest.mark.parametrize("kind", CLUSTERS)
def test_toy_clusters(kind: Any) -> None:
    """Every model runs somewhere; loads are as long as they are scaled; links join all pairs."""
    cluster = toy_cluster(kind)
    profile = toy_profile(kind, cluster, load=2.0)
    assert len(cluster.devices) == 8
    assert len(cluster.links) == 56
    assert {link.bytes_per_s for link in cluster.links} == {2.4e9, 0.6e9}
    for m, (size, _) in enumerate(MODELS):
        hosts = [d.id for d in cluster.devices if cluster.supports(d, cluster.models[m])]
        assert hosts == [d for d, costs in profile.costs.items() if f"m{m}" in costs]
        assert len(hosts) >= 4
        assert all(profile.costs[d][f"m{m}"].load_s == pytest.approx(size / 2) for d in hosts)
