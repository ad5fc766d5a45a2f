"""Items that take the answer of an identical call instead of asking again."""

from typing import TypeAlias

from fate.core.instances import Instance
from fate.domain.graph import InstanceId
from fate.domain.messages import Command, Reuse, Twin

_Item: TypeAlias = tuple[InstanceId, int]


class Twins:
    """Who waits for whose answer.

    Items that will not have it are `orphans`, until they are calls of their own. Entries of
    instances that ended meanwhile stay, unheeded.
    """

    def __init__(self, instances: dict[InstanceId, Instance], outbox: list[Command]) -> None:
        self._instances, self._outbox = instances, outbox
        self._waiting: dict[InstanceId, dict[int, list[_Item]]] = {}
        self._orphans: list[_Item] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def orphaned(self) -> bool:
        """Whether some item has lost its source."""
        return bool(self._orphans)

    def borrow(self, instance: Instance, twin: Twin) -> None:
        """Let an item take another's answer, now or later; without any it stays a call."""
        source, item = self._instances.get(twin.source), twin.source_item
        if source is None or twin.item not in instance.open_items:
            return
        if source is instance and item >= twin.item:
            return
        answered = source.status in ("open", "done") and 0 <= item < len(source.tails)
        if item in source.open_items:
            if source.live:
                instance.borrowing.add(twin.item)
                own = (instance.id, twin.item)
                self._waiting.setdefault(source.id, {}).setdefault(item, []).append(own)
        elif answered and item not in source.gone:
            self._take(instance, twin.item, (source.id, item))

    def lend(self, source: Instance, item: int) -> list[Instance]:
        """Give an answer to those who wait for it; return the instances of which items are done."""
        found: list[Instance] = []
        sources = [(source.id, item)]
        for one in sources:
            for name, twin in self._pop(*one):
                instance = self._instances[name]
                if instance.live and twin in instance.borrowing:
                    instance.borrowing.discard(twin)
                    self._take(instance, twin, one)
                    found.append(instance)
                    sources.append((name, twin))
        return found

    def lose_item(self, source: Instance, item: int) -> None:
        """An item will have no answer."""
        self._orphans += self._pop(source.id, item)

    def lose(self, source: Instance) -> None:
        """An instance ended early: what is open of it will have no answer."""
        for twins in self._waiting.pop(source.id, {}).values():
            self._orphans += twins

    def lose_workflow(self, workflow: str) -> None:
        """A workflow ended early."""
        for source in [self._instances[name] for name in self._waiting]:
            if source.workflow.id == workflow:
                self.lose(source)

    def adopt(self) -> list[tuple[Instance, int]]:
        """Return the items that are calls of their own from now on."""
        orphans, self._orphans = self._orphans, []
        found: list[tuple[Instance, int]] = []
        for name, item in orphans:
            instance = self._instances[name]
            if instance.live and item in instance.borrowing:
                instance.borrowing.discard(item)
                found.append((instance, item))
        return found

    def _pop(self, source: InstanceId, item: int) -> list[_Item]:
        """Return those that wait for an item; they do no longer."""
        items = self._waiting.get(source, {})
        twins = items.pop(item, [])
        if not items:
            self._waiting.pop(source, None)
        return twins

    def _take(self, instance: Instance, item: int, source: _Item) -> None:
        instance.open_items.discard(item)
        self._outbox.append(
            Reuse(instance=instance.id, item=item, source=source[0], source_item=source[1])
        )
