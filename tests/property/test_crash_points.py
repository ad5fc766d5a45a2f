"""A run killed anywhere, as often as one likes, ends like one that was not."""

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.crashes import Disk, KilledError, Story
from tests.graphs import chain, cluster, map_reduce, mixed, profile
from tests.random_graphs import graphs

from fate.core.options import SchedulerOptions
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Resumed
from fate.drivers.replay import replay
from fate.drivers.setup import Setup
from fate.registry import build

if TYPE_CHECKING:
    from fate.policy.base import Policy


def make(policy: str, **options: float) -> Setup:
    """Two devices with room for one or two models."""
    on = cluster(devices=2, memory_mib=100)
    return Setup(
        cluster=on,
        profile=profile(on),
        policy=cast("Policy", build("policy", policy)),
        options=SchedulerOptions(chunk_s=0.5, **options),  # pyright: ignore[reportArgumentType]
        seed=7,
    )


def uninterrupted(setup: Setup, work: list[Graph]) -> Story:
    """Return a run that nobody kills."""
    story = Story(setup, work)
    assert story.through([]).status == "ok"
    return story


def check(story: Story, whole: Story, kills: list[int]) -> None:
    """Same outputs, every item recorded once, the log replays, nothing finished was run again.

    A kill changes who is first at a join: what either run lacks, its joins did without.
    """
    outcome = story.through(kills)
    assert outcome.status == "ok" and set(outcome.ended) == {graph.id for graph in story.graphs}
    audit, mine, theirs = story.audit(), story.disk.durable, whole.disk.durable
    for lacking, keys in ((audit, theirs.keys() - mine), (whole.audit(), mine.keys() - theirs)):
        assert all(lacking.may_lack(instance) for instance, _ in keys), keys
    both = mine.keys() & theirs.keys()
    assert {key: mine[key] for key in both} == {key: theirs[key] for key in both}
    assert set(audit.done.values()) <= {1} and set(audit.done) == set(story.disk.durable)
    assert replay(story.disk.records, story.setup).finished
    times = [record.at_s for record in story.disk.records]
    assert times == sorted(times)


@pytest.mark.parametrize(("policy", "every"), [("late-eft", 1), ("fate", 5), ("round-robin", 5)])
def test_every_crash_point_of_a_run(policy: str, every: int) -> None:
    """Before the first record, between an output and its commit, after the end: all of them."""
    setup, work = make(policy), [map_reduce("m0", items=3), chain("x0", "AB")]
    whole = uninterrupted(setup, work)
    for kill_at in range(0, whole.disk.operations, every):
        story = Story(setup, work)
        check(story, whole, [kill_at])
        resumed = sum(isinstance(e, Resumed) for r in story.disk.records for e in r.events)
        assert story.processes == 2 and resumed <= 1


def test_what_is_durable_is_never_run_again() -> None:
    """Work that a crash costs is at most what was running, and what it left undone."""
    setup, work = make("late-eft"), mixed()
    whole = uninterrupted(setup, work)
    calls = len(whole.audit().calls)
    story = Story(setup, work)
    check(story, whole, [whole.disk.operations // 2])
    assert len(story.audit().calls) <= calls + len(setup.cluster.devices)


@given(
    shapes=st.lists(graphs(), min_size=1, max_size=3),
    policy=st.sampled_from(["late-eft", "round-robin", "heft"]),
    kills=st.lists(st.integers(0, 120), min_size=1, max_size=4),
)
def test_random_work_killed_several_times(
    shapes: list[tuple[Stage, ...]], policy: str, kills: list[int]
) -> None:
    """Crashes in a row, also while a process recovers from the one before."""
    setup = make(policy)
    work = [Graph(id=f"w{i}", stages=stages) for i, stages in enumerate(shapes)]
    check(Story(setup, work), uninterrupted(setup, work), kills)


def test_a_disk_loses_what_was_not_committed() -> None:
    """The rig does what it is for."""
    disk = Disk(kill_at=3)
    disk.put("w/a", 0, "one", {})
    disk.commit()
    disk.put("w/b", 0, "two", {})
    with pytest.raises(KilledError):
        disk.commit()
    disk.restart()
    assert disk.texts == {("w/a", 0): "one"}
