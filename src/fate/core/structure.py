"""Makes instances of stages: of workflows, of scopes as they are revealed, and expected ones.

A group that is not revealed yet shows in the horizon through one expected instance for each stage
of its body, with as many items as the group will have scopes; a loop through two rounds, the
second as likely as it is to go on. They carry ids as written (`wf/study.notes`), are in no
workflow's count, and go when facts take their place.
"""

from collections.abc import Iterable

import msgspec

from fate.core.expect import Expectation
from fate.core.instances import Group, Instance, OpenScope, Workflow, first_calls, link
from fate.domain.errors import ProtocolError
from fate.domain.graph import InstanceId, Scope, Stage


class Structure:
    """All instances by id, connected with each other and ranked."""

    def __init__(self, expect: Expectation) -> None:
        self._expect = expect
        self._number = 0
        self.instances: dict[InstanceId, Instance] = {}

    def workflow(self, workflow: Workflow) -> list[Instance]:
        """Make the instances of a workflow as it was submitted."""
        own = self._make(workflow, workflow.graph.stages, None)
        self._rank(own, [], 0.0)
        return own

    def scope(self, group: Instance, scope: Scope) -> OpenScope:
        """Make the instances of one scope of a group.

        Raises:
            ProtocolError: the scope or one of its stages is known already, or a stage comes
                before its parent.
        """
        state = _state(group)
        if scope.index in state.scopes:
            raise ProtocolError(f"scope {scope.index} of {group.id} was revealed twice")
        opened = state.scopes[scope.index] = OpenScope(group, scope.index)
        opened.members = self._make(group.workflow, scope.stages, opened)
        opened.left = len(opened.members)
        more_s = state.scope_s * max(group.stage.rounds - scope.index, 0.0)
        after = group.next_calls
        if state.again and self._go_on(group, scope.index):
            after = _together(after, first_calls(_roots(state.again)))
        self._rank(opened.members, after, group.tail_s + (more_s if group.stage.loop else 0.0))
        return opened

    def revealed(self, group: Instance) -> None:
        """Let facts take the place of what was expected of a group's scopes."""
        state = _state(group)
        self._retire(state.expected)
        state.expected = []

    def ended(self, instance: Instance) -> None:
        """An instance has ended: it brings no call closer, and of a group no more is expected."""
        if instance.group is not None:
            self._retire(instance.group.expected)
            self._retire(instance.group.again)
            instance.group.expected, instance.group.again = [], []
        elif instance.stage.kind == "llm":
            for call in instance.next_calls:
                call.calls_left -= 1

    def _make(
        self, workflow: Workflow, stages: Iterable[Stage], scope: OpenScope | None
    ) -> list[Instance]:
        own: dict[str, Instance] = {}
        for stage in stages:
            instance = self._instance(workflow, stage, workflow.graph.instance(stage.id), scope)
            if instance.id in self.instances or not own.keys() >= set(stage.parents):
                what = "is known already" if instance.id in self.instances else "has no parents yet"
                raise ProtocolError(f"{instance.id} {what}")
            self.instances[instance.id] = own[stage.id] = instance
        link(own)
        return list(own.values())

    def _instance(
        self, workflow: Workflow, stage: Stage, name: InstanceId, scope: OpenScope | None
    ) -> Instance:
        self._number += 1
        return Instance(
            name,
            self._number - 1,
            workflow,
            stage,
            self._expect.lengths(workflow, stage),
            parents_left=len(stage.parents),
            probability=stage.probability,
            scope=scope,
            group=Group() if stage.kind == "group" else None,
        )

    def _rank(self, own: list[Instance], after: list[Instance], after_s: float) -> None:
        """Find out what comes behind each instance; `after` comes behind the whole block."""
        for instance in reversed(own):
            if instance.children:
                instance.next_calls = first_calls(instance.children)
                instance.tail_s = max([_rest_s(child) for child in instance.children])
            else:
                instance.next_calls, instance.tail_s = after, after_s
            if instance.group is not None:
                self._foresee(instance, instance.group)
                continue
            instance.own_s = self._expect.own_seconds(instance)
            if instance.stage.kind == "llm":
                for call in instance.next_calls:
                    call.calls_left += 1

    # --- expectation -------------------------------------------------------------------------

    def _foresee(self, group: Instance, state: Group) -> None:
        """Make the expected instances of a group; what is behind it is known."""
        stage, after, after_s = group.stage, group.next_calls, group.tail_s
        state.heads = after
        if stage.items < 1:
            return
        rounds = max(stage.rounds, 1.0) if stage.loop else 1.0
        if rounds > 1.0:
            state.again = self._body(group, after, after_s)
            self._go_on(group, 1)
            after = _together(after, first_calls(_roots(state.again)))
            after_s += _longest_s(state.again, group.tail_s) * (rounds - 1.0)
        state.expected = self._body(group, after, after_s)
        if state.expected:
            state.heads = first_calls(_roots(state.expected))
        state.scope_s = _longest_s(state.expected, after_s)
        group.own_s = state.scope_s * rounds

    def _body(self, group: Instance, after: list[Instance], after_s: float) -> list[Instance]:
        own: dict[str, Instance] = {}
        for stage in group.stage.body:
            alone = group.stage.loop and stage.id == group.stage.id.rpartition(".")[2]
            name = group.id if alone else f"{group.id}.{stage.id}"
            many = msgspec.structs.replace(stage, items=stage.items * group.stage.items)
            own[stage.id] = self._instance(group.workflow, many, name, None)
            own[stage.id].probability *= group.probability
        link(own)
        self._rank(list(own.values()), after, after_s)
        return list(own.values())

    def _go_on(self, loop: Instance, done: int) -> bool:
        """Set how likely a round follows after so many; tell if one does at all."""
        left = max(loop.stage.rounds - done, 0.0)
        _make_likely(_state(loop).again, left / (left + 1.0) * loop.probability)
        return left > 0.0

    def _retire(self, expected: list[Instance]) -> None:
        for instance in expected:
            instance.status = "skipped"
            self.ended(instance)


def _roots(instances: list[Instance]) -> list[Instance]:
    return [instance for instance in instances if not instance.parents]


def _rest_s(child: Instance) -> float:
    return child.probability * child.own_s + child.tail_s


def _together(left: list[Instance], right: list[Instance]) -> list[Instance]:
    return list({call.number: call for call in [*left, *right]}.values())


def _longest_s(block: list[Instance], after_s: float) -> float:
    """Return the seconds of the longest path through a block of stages."""
    return max([i.own_s + i.tail_s for i in block if not i.parents], default=after_s) - after_s


def _make_likely(expected: list[Instance], likely: float) -> None:
    for instance in expected:
        instance.probability = likely * instance.stage.probability
        if instance.group is not None:
            _make_likely(instance.group.expected, instance.probability)


def _state(group: Instance) -> Group:
    assert group.group is not None, f"{group.id} is no group"
    return group.group
