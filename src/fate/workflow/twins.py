"""Identical calls of a run: which of them is made, and which take its answer."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from fate.domain.graph import InstanceId
from fate.domain.messages import Twin
from fate.engines.base import PromptPart
from fate.workflow.render import Expansion
from fate.workflow.spec import LlmStage, ModelStage

_Item: TypeAlias = tuple[InstanceId, int]


class TwinIndex:
    """The calls that were expanded so far, by what they ask; one index for all workflows of a run.

    Only answers that cannot differ are shared: temperature 0, and the same model, texts, seed,
    limits and schema.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, _Item] = {}
        self._asks: dict[_Item, bytes] = {}

    def mark(
        self, instance: InstanceId, spec: ModelStage, model: str, expansion: Expansion
    ) -> tuple[Twin, ...]:
        """Return the items whose call was asked for before; remember the others."""
        if isinstance(spec, LlmStage) and spec.temperature > 0.0:
            return ()
        asked = blake2b(msgspec.json.encode((model, *_limits(spec))), digest_size=16)
        asked.update(_bytes(expansion.head))
        twins: list[Twin] = []
        for item, tail in enumerate(expansion.tails):
            call = asked.copy()
            call.update(_bytes(tail))
            key, own = call.digest(), (instance, item)
            source = self._first.setdefault(key, own)
            if source == own:
                self._asks[own] = key
            else:
                twins.append(Twin(item, *source))
        return tuple(twins)

    def forget(self, instance: InstanceId, item: int) -> None:
        """An item was given up: no other call can take its answer."""
        key = self._asks.pop((instance, item), None)
        if key is not None:
            del self._first[key]


def _limits(spec: ModelStage) -> tuple[object, ...]:
    """Return what an answer depends on beside model and texts."""
    if not isinstance(spec, LlmStage):
        return ("vector",)
    limits = (spec.seed, spec.max_tokens, spec.stop, spec.answer_schema)
    return (*limits, spec.exact_tokens, spec.chat)


def _bytes(parts: Sequence[PromptPart]) -> bytes:
    """Return parts so that those of two prompts follow each other like those of one."""
    return b"".join(msgspec.json.encode((part.role, part.text)) for part in parts)
