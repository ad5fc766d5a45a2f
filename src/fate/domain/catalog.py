"""What work runs on: models, devices, links. Frozen; the changing part is in `state`."""

from typing import Literal, TypeAlias

import msgspec

from fate.domain.errors import FateError

#: How an engine reuses prefixes. `sequences`: k slots for each model, longest common prefix, we
#: choose the slot. `blocks`: one cache of path nodes for all models, least recently used out first,
#: which outlives unloading, as one in host memory does.
PrefixKind: TypeAlias = Literal["none", "sequences", "blocks"]
ModelTask: TypeAlias = Literal["generate", "embed"]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Weights that can be loaded onto a device.

    `weight_bytes` is what the loaded weights occupy; `kv_bytes_per_token` and `context_tokens`
    give the KV cache that a load reserves with them. `digest` identifies the weights, `tokenizer`
    the vocabulary: models with equal `tokenizer` cut text alike. `task` is what its calls return:
    text, or the vector of a text.
    """

    id: str
    weight_bytes: int
    kv_bytes_per_token: int = 0
    context_tokens: int = 4096
    digest: str = ""
    tokenizer: str = ""
    task: ModelTask = "generate"

    @property
    def footprint_bytes(self) -> int:
        """Bytes that loading this model reserves: weights and the KV cache of its context."""
        return self.weight_bytes + self.kv_bytes_per_token * self.context_tokens


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A place where calls run: one engine process with a declared memory budget.

    `slots` calls run at once; `sequences` prompts stay cached per resident model, or
    `cache_tokens` in all where `prefix` is `blocks`. An empty `models` means every model the
    engine can load. A device that is not `managed` serves its models as they are: nothing is
    loaded or unloaded there. `park_bytes` of its disk may hold KV states of models that are not
    loaded; 0 where the engine cannot save them, or shall not.
    """

    id: str
    engine: str
    memory_bytes: int
    slots: int = 1
    sequences: int = 4
    prefix: PrefixKind = "sequences"
    cache_tokens: int = 0
    models: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    managed: bool = True
    park_bytes: int = 0


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """A KV state on a device's disk: that of a model's sequence when it was unloaded."""

    model: str
    sequence: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A directed connection between two devices, bytes per second and seconds."""

    source: str
    target: str
    bytes_per_s: float
    latency_s: float = 0.0


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """All devices and models of a run; positions in the tuples are the indices policies use."""

    devices: tuple[Device, ...]
    models: tuple[Model, ...]
    links: tuple[Link, ...] = ()
    tool_slots: int = 4

    def __post_init__(self) -> None:
        """Refuse a cluster in which a name is missing or taken twice."""
        for what, ids in (
            ("device", [device.id for device in self.devices]),
            ("model", [model.id for model in self.models]),
        ):
            for name in ids:
                if ids.count(name) > 1:
                    raise FateError(f"cluster: {what} {name!r} is declared twice")
        if not self.devices:
            raise FateError("cluster: no devices; declare at least one under `devices:`")
        known = {model.id for model in self.models}
        for device in self.devices:
            for name in device.models:
                if name not in known:
                    raise FateError(f"cluster: device {device.id!r} names unknown model {name!r}")
        for link in self.links:
            self._check_link(link)

    def _check_link(self, link: Link) -> None:
        known = {device.id for device in self.devices}
        for name in (link.source, link.target):
            if name not in known:
                raise FateError(f"cluster: a link names unknown device {name!r}")
        if link.bytes_per_s <= 0:
            raise FateError(f"cluster: link {link.source!r} -> {link.target!r} has no speed")

    def supports(self, device: Device, model: Model) -> bool:
        """Whether `model` may run on `device`: allowed there, and within its memory."""
        allowed = not device.models or model.id in device.models
        return allowed and (not device.managed or model.footprint_bytes <= device.memory_bytes)
