"""Toy clusters: eight devices of up to three types, six models, two groups of quick links.

They are the prototype's, not any paper's (`homog`, `mild`, `hetero`): no real device has these
figures, and no result on them is a claim about hardware.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model

ClusterKind: TypeAlias = Literal["homog", "mild", "hetero"]
CLUSTERS: tuple[ClusterKind, ...] = get_args(ClusterKind)

GIGA = 1e9
#: Of each model: size [GB], and seconds of compute per token relative to the second model's.
MODELS = ((6, 0.4), (16, 1.0), (28, 1.7), (36, 2.2), (16, 1.0), (6, 0.4))
DEVICES = 8
#: Devices with quick links among them; bandwidths inside and across groups [B/s], latency [s].
_GROUP, _INSIDE, _ACROSS, _LATENCY_S = 4, 2.4e9, 0.6e9, 0.01
_LOAD_BYTES_PER_S = 4e9


@dataclass(frozen=True, slots=True)
class _Type:
    """A device: memory [GB], prefix cache [tokens], rates of a model with compute 1 [tokens/s]."""

    memory_gb: int
    cache_tokens: int
    prefill: float
    decode: float


#: The types of a cluster's devices, repeated.
_TYPES: dict[ClusterKind, tuple[_Type, ...]] = {
    "homog": (_Type(48, 150_000, 9000, 70),),
    "mild": (_Type(80, 300_000, 12000, 90), _Type(48, 150_000, 9000, 70)),
    "hetero": (
        _Type(80, 300_000, 14000, 110),
        _Type(48, 150_000, 7000, 55),
        _Type(24, 60_000, 4000, 30),
    ),
}


def model_name(index: int) -> str:
    """Return the name of a model of `MODELS`."""
    return f"m{index}"


def toy_cluster(kind: ClusterKind, devices: int = DEVICES, cache: float = 1.0) -> Cluster:
    """Return a toy cluster of `devices` devices, their prefix caches scaled by `cache`."""
    names = [f"d{d}" for d in range(devices)]
    return Cluster(
        devices=tuple([_device(name, _type(kind, d), cache) for d, name in enumerate(names)]),
        models=tuple(
            [
                Model(id=model_name(m), weight_bytes=int(size * GIGA))
                for m, (size, _) in enumerate(MODELS)
            ]
        ),
        links=tuple(
            [
                Link(
                    source=names[i],
                    target=names[j],
                    bytes_per_s=_INSIDE if i // _GROUP == j // _GROUP else _ACROSS,
                    latency_s=_LATENCY_S,
                )
                for i in range(devices)
                for j in range(devices)
                if i != j
            ]
        ),
    )


def toy_profile(kind: ClusterKind, cluster: Cluster, load: float = 1.0) -> Profile:
    """Return what a toy cluster costs; loads take `load` times as long as they would.

    Unloading takes no time, calls have no fixed cost and do not slow down with depth.
    """

    def costs(device: int, model: int) -> CallCosts:
        size, compute = MODELS[model]
        kind_of_device = _type(kind, device)
        return CallCosts(
            load_s=load * size * GIGA / _LOAD_BYTES_PER_S,
            unload_s=0.0,
            prefill=(0.0, compute / kind_of_device.prefill, 0.0),
            decode=(0.0, compute / kind_of_device.decode, 0.0),
        )

    return Profile(
        costs={
            device.id: {
                model.id: costs(d, m)
                for m, model in enumerate(cluster.models)
                if cluster.supports(device, model)
            }
            for d, device in enumerate(cluster.devices)
        },
        source="declared",
    )


def _type(kind: ClusterKind, device: int) -> _Type:
    types = _TYPES[kind]
    return types[device % len(types)]


def _device(name: str, kind: _Type, cache: float) -> Device:
    return Device(
        id=name,
        engine="simulated",
        memory_bytes=int(kind.memory_gb * GIGA),
        prefix="blocks",
        cache_tokens=max(round(kind.cache_tokens * cache), 1),
    )
