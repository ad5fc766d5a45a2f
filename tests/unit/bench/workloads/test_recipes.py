"""Generated instances are the same wherever and together with whatever they are generated."""

from pathlib import Path

import pytest

from fate.bench.workloads.recipes import RECIPES, Wanted, instances

pytest.importorskip("wfcommons", reason="extra `bench` is not installed")


@pytest.mark.slow
def test_instances_depend_on_their_seed_alone(tmp_path: Path) -> None:
    """Alone or with others, in any order: the same instance; another seed: another one."""
    first, other, third = Wanted("blast", 60, 0), Wanted("blast", 60, 1), Wanted("genome", 60, 0)
    together = instances([third, other, first], tmp_path / "a")
    alone = instances([first], tmp_path / "b")
    assert together[2] == alone[0]
    assert together[1] != alone[0]
    assert instances([first], tmp_path / "b") == alone


@pytest.mark.slow
def test_every_recipe_makes_its_least_size(tmp_path: Path) -> None:
    """The table's least sizes are what wfcommons can make; none is empty or without files."""
    wanted = [Wanted(name, 1, 0) for name in RECIPES]
    for each, instance in zip(wanted, instances(wanted, tmp_path), strict=True):
        assert 0 < len(instance.tasks) <= each.size
        assert any(task.inputs for task in instance.tasks)
        assert any(task.runtime_s > 0 for task in instance.tasks)
