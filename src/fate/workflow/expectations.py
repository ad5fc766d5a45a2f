"""What earlier runs of a workflow have seen, by the path of a stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one stage; None where nothing was.

    Attributes:
        tokens: output tokens of an item.
        items: elements of its map.
        rounds: rounds of its loop.
        probability: how often its condition held.
    """

    tokens: float | None = None
    items: float | None = None
    rounds: float | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Expectations:
    """What to expect of a workflow's stages where its file does not say."""

    stages: Mapping[str, Seen] = field(default_factory=dict[str, Seen])

    def of(self, path: str) -> Seen:
        """Return what is known of a stage, `study.notes`."""
        return self.stages.get(path, _NOTHING)


_NOTHING = Seen()
