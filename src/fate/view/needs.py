"""Which executions a stage starts from, with groups seen through: who could have held it up."""

from collections.abc import Iterable, Iterator

from fate.domain.graph import InstanceId
from fate.view.stage_run import StageRun


def needs(run: StageRun) -> tuple[InstanceId, ...]:
    """Return the executions that end just before this one can start, none of them a group.

    A stage without parents in its scope starts from what its group does, or from the round before.
    """
    return tuple(dict.fromkeys(leaf.instance for leaf in _leaves(_sources(run))))


def _sources(run: StageRun) -> list[StageRun]:
    group = run.group
    if run.parents or group is None:
        return run.parents
    if group.stage.loop and run.index - 1 in group.scopes:
        return group.scopes[run.index - 1]
    return _sources(group)


def _leaves(runs: Iterable[StageRun]) -> Iterator[StageRun]:
    """Yield the ends of groups among `runs`: of a map's every item, of a loop's last round."""
    for run in runs:
        if not run.is_group:
            yield run
            continue
        scopes = list(run.scopes.values())
        for scope in scopes[-1:] if run.stage.loop else scopes:
            yield from _leaves(inner for inner in scope if not inner.children)
