"""The models and devices of `fate bench live`."""

import os

import msgspec

from fate.bench.cells import CELLS, LETTERS
from fate.config import ClusterSpec, LocalDevice, ModelSpec, Resolved, resolve
from fate.domain.catalog import Cluster, Link, Model
from fate.domain.errors import FateError
from fate.session import Job

#: Models A, B and C of each tier, from the quickest to the slowest.
TIERS: dict[str, tuple[str, str, str]] = {
    "synthetic": ("synthetic-s", "synthetic-m", "synthetic-l"),
    "real": ("smollm2-135m-q4_0", "smollm2-135m-q8_0", "gemma3-270m"),
}
_DEVICES, _SEQUENCES, _CONTEXT_TOKENS = 2, 4, 4096


def tier_cluster(tier: str) -> Resolved:
    """Return two devices, pinned to a core each, with memory for exactly one model of the tier.

    Every model is declared to take the whole device: otherwise two small ones would fit where the
    large one does, and the number of models that fit would depend on which they are. The roles are
    the letters that cells use.
    """
    if tier not in TIERS:
        raise FateError(f"--tier: no tier {tier!r}; choose from {', '.join(TIERS)}")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < _DEVICES:
        raise FateError(f"bench live needs {_DEVICES} cores to pin a device to each, has 1")
    models = {
        name: ModelSpec(source=f"pypi:{name}", context=_CONTEXT_TOKENS) for name in TIERS[tier]
    }
    devices = {
        f"d{d}": LocalDevice(memory=1, cores=(cores[d],), sequences=_SEQUENCES)
        for d in range(_DEVICES)
    }
    bare = resolve(ClusterSpec(models=models, devices=dict(devices)), {}).cluster.models
    memory = max(model.footprint_bytes for model in bare)
    spec = ClusterSpec(
        models={
            model.id: models[model.id].model_copy(update={"weight_bytes": _filling(model, memory)})
            for model in bare
        },
        devices={
            name: device.model_copy(update={"memory": memory}) for name, device in devices.items()
        },
    )
    return resolve(spec, dict(zip(LETTERS, TIERS[tier], strict=True)))


def cluster_job(resolved: Resolved) -> Job:
    """Return a job that stands for a cluster alone: to fetch its weights and open its engines."""
    (any_part,) = CELLS["control"]
    return Job(name="bench", program=any_part.program, inputs=(), resolved=resolved)


def linked(cluster: Cluster, bytes_per_s: float) -> Cluster:
    """Return the cluster with a link of a speed between any two devices."""
    names = [device.id for device in cluster.devices]
    links = [
        Link(source=source, target=target, bytes_per_s=bytes_per_s)
        for source in names
        for target in names
        if source != target
    ]
    return msgspec.structs.replace(cluster, links=tuple(links))


def _filling(model: Model, memory: int) -> int:
    """Return the weight bytes with which a model's footprint is `memory`."""
    return memory - (model.footprint_bytes - model.weight_bytes)
