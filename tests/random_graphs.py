"""Hypothesis strategies for workflow graphs."""

from hypothesis import strategies as st

from fate.domain.graph import ITEM, Segment, Stage, item_key


@st.composite
def stages(draw: st.DrawFn, workflow: str, number: int) -> Stage:
    """A stage below any of those before it."""
    names = [f"s{k}" for k in range(number)]
    parents = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    mapped = draw(st.booleans())
    items = draw(st.integers(0, 5)) if mapped else 1
    shared = dict[str, object](id=f"s{number}", parents=tuple(parents), mapped=mapped, items=items)
    if draw(st.integers(0, 3)) == 0:
        return Stage(kind="tool", tool_s=0.01, **shared)  # pyright: ignore[reportArgumentType]
    model = draw(st.sampled_from("ABC"))
    outputs = tuple(Segment(item_key(f"{workflow}/{parent}", 0), 20) for parent in parents)
    own = Segment(f"{ITEM}{workflow}" if mapped else f"{workflow}-s{number}", 40)
    return Stage(
        kind="llm",
        model=model,
        prompt=(Segment(f"system-{model}", 100), *outputs, own),
        output_tokens=20,
        max_tokens=40,
        **shared,  # pyright: ignore[reportArgumentType]
    )


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Stages of a random DAG: several roots, diamonds, maps over anything, tools."""
    return tuple(draw(stages("w", number)) for number in range(draw(st.integers(0, 7))))
