"""Hypothesis strategies for workflow graphs."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from fate.domain.graph import ITEM, Graph, Segment, Stage, item_key

#: Stages in a block, by how many groups stand around it.
_MOST = (7, 3, 2)


@st.composite
def stages(draw: st.DrawFn, where: str, number: int, depth: int) -> Stage:
    """A stage below any of those before it; `where` is the id of what stands around."""
    names = [f"s{k}" for k in range(number)]
    parents = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    name, mapped = f"s{number}", draw(st.booleans())
    shared = dict[str, Any](
        id=name,
        parents=tuple(parents),
        join=draw(st.sampled_from([0, 0, 1, 2])) if len(parents) > 1 else 0,
        on_error=draw(st.sampled_from(["fail", "fail", "fail", "skip", "default"])),
        probability=draw(st.sampled_from([1.0, 1.0, 1.0, 0.5])),
        kept=draw(st.integers(0, 3)) == 0,
    )
    if depth < len(_MOST) - 1 and draw(st.integers(0, 2 + 2 * depth)) == 0:
        return draw(_groups(f"{where}{name}", depth, shared))
    shared |= {"mapped": mapped, "items": draw(st.integers(0, 5 - 2 * depth)) if mapped else 1}
    if draw(st.integers(0, 3)) == 0:
        return Stage(kind="tool", tool_s=0.01, **shared)
    model = draw(st.sampled_from("ABC"))
    outputs = tuple(Segment(item_key(f"{where}{parent}", 0), 20) for parent in parents)
    around = (Segment(f"{ITEM}{where[:-1]}", 40),) if depth and draw(st.booleans()) else ()
    own = Segment(f"{ITEM}{where}{name}" if mapped else f"{where}{name}", 40)
    return Stage(
        kind="llm",
        model=model,
        prompt=(Segment(f"system-{model}", 100), *around, *outputs, own),
        output_tokens=20,
        max_tokens=40,
        **shared,
    )


@st.composite
def _groups(draw: st.DrawFn, where: str, depth: int, shared: dict[str, Any]) -> Stage:
    """A map or a loop over several stages, or a loop over one of its own name."""
    loop = draw(st.booleans())
    body = draw(blocks(f"{where}.", depth + 1, least=1))
    if loop and draw(st.booleans()):
        body = (replace(body[0], id=shared["id"]),)
    return Stage(
        kind="group",
        loop=loop,
        rounds=draw(st.sampled_from([1.0, 1.6, 2.0, 3.0])) if loop else 1.0,
        items=1 if loop else draw(st.integers(0, 3)),
        body=body,
        **shared,
    )


@st.composite
def blocks(draw: st.DrawFn, where: str, depth: int, least: int = 0) -> tuple[Stage, ...]:
    """Stages of a random DAG, at some depth of groups."""
    count = draw(st.integers(least, _MOST[depth]))
    return tuple(draw(stages(where, number, depth)) for number in range(count))


def graphs() -> st.SearchStrategy[tuple[Stage, ...]]:
    """Stages of a random DAG: several roots, diamonds, maps over anything, tools, groups, joins."""
    return blocks("w/", 0)


def named(workflow: str, shape: tuple[Stage, ...], wait_class: str = "default") -> Graph:
    """Return a graph of drawn stages whose prompts are about its own outputs."""
    return Graph(id=workflow, stages=_about(workflow, shape), wait_class=wait_class)


def _about(workflow: str, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    return tuple(
        replace(
            stage,
            prompt=tuple(
                Segment(s.key.replace("w/", f"{workflow}/"), s.tokens) for s in stage.prompt
            ),
            body=_about(workflow, stage.body),
        )
        for stage in stages
    )
