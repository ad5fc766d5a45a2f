"""Clusters of real GPUs, with what catalogue models cost on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fate.bench.workloads.hardware import (
    Part,
    call_costs,
    catalogue_model,
    llm,
    part,
    slowdown,
)
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link
from fate.domain.errors import FateError

#: Name -> GPUs. Four devices stand in a host. `homog`, `mild` and `hetero` are real counterparts
#: of the proxy's clusters of these names.
RIGS: dict[str, tuple[str, ...]] = {
    "desk": ("rtx4090", "rtx4090"),
    "mixed-4": ("a100-80", "rtx4090", "l4", "l4"),
    "homog": ("l40s",) * 8,
    "mild": ("a100-80", "l40s") * 4,
    "hetero": ("a100-80", "l40s", "rtx4090") * 2 + ("a100-80", "l40s"),
}
HOST_DEVICES = 4

#: (bytes per second, latency s) between devices of a host, over PCIe 4, and of two hosts.
IN_HOST = (25e9, 1e-4)
NETWORKS: dict[str, tuple[float, float]] = {"10g": (1.25e9, 5e-4), "100g": (12.5e9, 1e-4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A cluster and what its models cost there."""

    cluster: Cluster
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a rig is used.

    Attributes:
        loading: where weights come from, see `hardware.LOADING`.
        network: between hosts, see `NETWORKS`.
        prompt, output: tokens of a typical call, which decide what company costs.
        slots: calls at once on each device; 0 is the catalogue's number.
        cache_tokens_per_gib: prompt tokens that a device caches, over all models, in proportion
            to its memory; they lie in the host's memory and survive an unload. 0 is no such cache.
        sequences: without it, prompts that stay cached for each model while it is loaded.
        context_tokens: of cache that a load reserves; 0 is the catalogue's number.
        tool_slots: tools at once; they wait for others, not for a core.
    """

    loading: str = "host"
    network: str = "10g"
    prompt: float = 1000.0
    output: float = 300.0
    slots: int = 0
    cache_tokens_per_gib: float = 3000.0
    sequences: int = 16
    context_tokens: int = 0
    tool_slots: int = 256


def rig(gpus: str | Sequence[str], models: Sequence[str], setting: Setting | None = None) -> Rig:
    """Return a cluster with its profile.

    Args:
        gpus: a name in `RIGS`, or GPUs.
        models: names in the catalogue; a device runs those that fit.
        setting: how it is used.

    Raises:
        FateError: an unknown name, or a model that fits on no device.
    """
    used = setting or Setting()
    names = _gpus(gpus) if isinstance(gpus, str) else tuple(gpus)
    parts = {f"{name}-{number}": part(name) for number, name in enumerate(names)}
    devices = tuple(
        Device(
            id=name,
            engine="simulated",
            memory_bytes=each.memory_bytes,
            slots=used.slots or each.gpu.slots,
            sequences=used.sequences,
            prefix="blocks" if used.cache_tokens_per_gib else "sequences",
            cache_tokens=int(used.cache_tokens_per_gib * each.gpu.memory_gib * each.count),
        )
        for name, each in parts.items()
    )
    cluster = Cluster(
        devices=devices,
        models=tuple([catalogue_model(name, used.context_tokens) for name in models]),
        links=_links(list(parts), NETWORKS[used.network]),
        tool_slots=used.tool_slots,
    )
    for model in cluster.models:
        if not any(cluster.supports(device, model) for device in devices):
            raise FateError(f"model {model.id!r} fits on no device of {', '.join(names)}")
    return Rig(cluster=cluster, profile=_profile(cluster, parts, used))


def _gpus(name: str) -> tuple[str, ...]:
    if name not in RIGS:
        raise FateError(f"unknown cluster {name!r}; known: {', '.join(RIGS)}")
    return RIGS[name]


def _links(names: Sequence[str], network: tuple[float, float]) -> tuple[Link, ...]:
    """Return links between all devices: fast within a host, over the network between hosts."""
    return tuple(
        Link(source=source, target=target, bytes_per_s=rate, latency_s=latency_s)
        for s, source in enumerate(names)
        for t, target in enumerate(names)
        if s != t
        for rate, latency_s in [IN_HOST if s // HOST_DEVICES == t // HOST_DEVICES else network]
    )


def _profile(cluster: Cluster, parts: Mapping[str, Part], used: Setting) -> Profile:
    costs: dict[str, dict[str, CallCosts]] = {}
    factors: dict[str, tuple[float, ...]] = {}
    for device in cluster.devices:
        each = parts[device.id]
        here = [model for model in cluster.models if cluster.supports(device, model)]
        costs[device.id] = {m.id: call_costs(each, llm(m.id), used.loading) for m in here}
        talking = [llm(model.id) for model in here if model.task == "generate"]
        factors[device.id] = slowdown(each, talking, used.prompt, used.output, device.slots)
    return Profile(costs=costs, slowdown=factors, source="declared")
