"""The token mapping, by hand on a small instance and against golden values."""

import json
from pathlib import Path
from typing import Any

import pytest

from fate.bench.workloads.tokens import CONTEXT_TOKENS, map_tokens
from fate.bench.workloads.wfformat import Instance, Task, read_instance

_SHARED = Path(__file__).parents[5] / "shared" / "data"
_GOLDEN = _SHARED / "mapping_golden.json"


def task(name: str, category: str, runtime_s: float, *parents: str, **inputs: int) -> Task:
    """A task that reads files nobody writes."""
    return Task(
        id=name,
        category=category,
        runtime_s=runtime_s,
        parents=parents,
        inputs=inputs,
        outputs={},
    )


def test_ranks_give_tokens() -> None:
    """Of three runtimes the middle one is the median answer; the class goes by category."""
    stages = map_tokens(
        Instance(
            name="x",
            application="app",
            tasks=(task("a", "A", 1.0), task("b", "B", 50.0, "a"), task("c", "C", 9999.0, "b")),
        )
    )
    assert [stage.model_class for stage in stages] == ["small", "medium", "large"]
    assert stages[1].output_tokens == 129
    assert stages[1].parent_tokens == (stages[0].output_tokens,)
    assert stages[0].prompt_tokens == stages[0].shared_prefix_tokens


def test_a_document_read_by_two_is_a_prefix() -> None:
    """Tasks of one category that read the same files share the document; others only hold it."""
    shared, own = task("a", "A", 1.0, f=10), task("c", "B", 1.0, f=10)
    stages = map_tokens(
        Instance(name="x", application="app", tasks=(shared, task("b", "A", 1.0, f=10), own))
    )
    assert len(stages[0].prefix_chain) == 3
    assert stages[0].prefix_chain == stages[1].prefix_chain
    assert len(stages[2].prefix_chain) == 2
    assert stages[2].prompt_tokens > stages[2].shared_prefix_tokens


def test_wide_joins_stay_in_the_context() -> None:
    """A thousand parents share the room that is left, at least one token each."""
    parents = [task(f"p{i}", "A", float(i + 1)) for i in range(1000)]
    join = task("join", "B", 5.0, *[parent.id for parent in parents])
    stage = map_tokens(Instance(name="x", application="app", tasks=(*parents, join)))[-1]
    assert stage.prompt_tokens + stage.output_tokens <= CONTEXT_TOKENS
    assert min(stage.parent_tokens) >= 1


def test_zero_runtimes() -> None:
    """A whole-second clock says 0 for quick tasks: they count as quick, not as nothing."""
    stages = map_tokens(
        Instance(name="x", application="app", tasks=(task("a", "A", 0.0), task("b", "A", 3.0)))
    )
    assert stages[0].output_tokens >= 7
    nothing = map_tokens(Instance(name="x", application="app", tasks=(task("a", "A", 0.0),)))
    assert nothing[0].output_tokens > 0


@pytest.mark.skipif(not _GOLDEN.is_file(), reason="the golden data lies on developers' machines")
def test_golden_values() -> None:
    """Three real instances, stage by stage."""
    golden: dict[str, list[dict[str, Any]]] = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    for name, expected in golden.items():
        application = "nf-core/sarek" if name.startswith("sarek") else None
        stages = map_tokens(read_instance(_SHARED / "wfinstances" / name, application))
        found = {stage.id: stage for stage in stages}
        for row in expected:
            stage = found[row["id"]]
            assert {
                "id": stage.id,
                "category": stage.category,
                "model_class": stage.model_class,
                "prompt_tokens": stage.prompt_tokens,
                "output_tokens": stage.output_tokens,
                "output_bytes": stage.output_bytes,
                "prefix_chain": [list(segment) for segment in stage.prefix_chain],
                "shared_prefix_tokens": stage.shared_prefix_tokens,
                "parents": list(stage.parents),
                "parent_tokens": list(stage.parent_tokens),
            } == row
