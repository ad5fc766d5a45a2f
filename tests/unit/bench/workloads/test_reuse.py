"""Controlled sharing: what changes with the share, and what does not."""

from collections import Counter

import msgspec
import pytest

from fate.bench.case import run_case
from fate.bench.guards import check
from fate.bench.workloads.reuse import (
    PREFIX_REUSE_CELLS,
    SHARES,
    ReuseCell,
    Sharing,
    prefix_reuse,
)
from fate.domain.errors import FateError
from fate.domain.graph import Graph, path_tokens
from fate.domain.messages import ItemDone
from fate.registry import build


def bare(graph: Graph) -> list[object]:
    """A graph without its prompts."""
    return [msgspec.structs.replace(stage, prompt=()) for stage in graph.stages]


def test_only_prompts_depend_on_the_share() -> None:
    """DAGs, models, answers and the tokens of every prompt are the same at any share."""
    workloads = [prefix_reuse(3, 20, share) for share in SHARES]
    shapes = [[bare(each.declared) for each in made] for made in workloads]
    assert all(shape == shapes[0] for shape in shapes)
    totals = {path_tokens(s.prompt) for made in workloads for a in made for s in a.declared.stages}
    assert totals == {6000}


@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_met(share: float) -> None:
    """Tokens under keys of a group over all tokens."""
    prompts = [s.prompt for a in prefix_reuse(1, 12, share) for s in a.declared.stages]
    tokens = [(s.key.startswith("group"), s.tokens) for prompt in prompts for s in prompt]
    common = sum(count for is_common, count in tokens if is_common)
    assert common / sum(count for _, count in tokens) == pytest.approx(share, abs=0.001)


def test_popularity() -> None:
    """With an exponent the first groups have most workflows; a group keeps to one model."""

    def groups(zipf: float) -> Counter[str]:
        return Counter(
            a.declared.stages[0].prompt[0].key for a in prefix_reuse(0, 300, 0.5, 12, zipf)
        )

    assert max(groups(0.0).values()) < 50 < groups(1.5)["group0"]
    models = {(s.prompt[0].key, s.model) for a in prefix_reuse(0, 60) for s in a.declared.stages}
    assert len(models) == 12


def test_the_budget_binds() -> None:
    """Shared texts alone need more than any device may cache; more cache means less prefill."""
    cell = PREFIX_REUSE_CELLS["share-0.9"]
    case = cell.case(0)
    shared = {s for _, g in case.arrivals for each in g.stages for s in each.prompt[:2]}
    need = sum(segment.tokens for segment in shared)
    assert need > 2 * max(device.cache_tokens for device in case.cluster.devices)
    small, large = cached_tokens(200.0), cached_tokens(6000.0)
    assert 0 < small < 0.8 * large


def cached_tokens(per_gib: float) -> int:
    """Prompt tokens found in caches by late-EFT, on fewer workflows."""
    cell = ReuseCell(sharing=Sharing(), count=16, cache_tokens_per_gib=per_gib)
    case = cell.case(0)
    outcome = run_case(case, build("policy", "late-eft"))
    check(case, outcome)
    events = [e for r in outcome.records for e in r.events if isinstance(e, ItemDone)]
    return sum(event.cached_tokens for event in events)


@pytest.mark.parametrize("options", [{"share": 1.0}, {"share": -0.1}, {"groups": 0}])
def test_what_cannot_be_shared(options: dict[str, float]) -> None:
    """A stage keeps some text of its own."""
    with pytest.raises(FateError, match=r"share must be in \[0, 1\), groups at least 1"):
        prefix_reuse(0, 1, **options)  # pyright: ignore[reportArgumentType]  # the point
