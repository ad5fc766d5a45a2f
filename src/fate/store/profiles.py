"""What this machine has learned of its devices, kept between runs."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Model
from fate.store.learned import cache_path, read_or_empty, write_whole


class _File(msgspec.Struct, kw_only=True):
    format: int = 1
    costs: dict[str, CallCosts] = {}
    slowdown: dict[str, tuple[float, ...]] = {}


def default_path() -> Path:
    """Return where profiles are kept: under FATE_HOME, or the user's cache."""
    return cache_path("profile.json")


def load_profile(path: Path, cluster: Cluster, fallback: Profile) -> Profile:
    """Return what is known of a cluster; pairs never measured come from `fallback`.

    A file that cannot be read counts as empty: it holds nothing that cannot be measured again.
    """
    known = read_or_empty(path, _File)
    costs: dict[str, dict[str, CallCosts]] = {}
    measured = True
    for device in cluster.devices:
        row: dict[str, CallCosts] = {}
        for model in cluster.models:
            if not cluster.supports(device, model):
                continue
            found = known.costs.get(_key(cluster, device, model))
            measured = measured and found is not None
            row[model.id] = found or fallback.costs[device.id][model.id]
        costs[device.id] = row
    slowdown = {
        device.id: known.slowdown[_device_key(cluster, device)]
        for device in cluster.devices
        if _device_key(cluster, device) in known.slowdown
    }
    source = "measured on this machine" if measured else fallback.source
    return Profile(costs=costs, slowdown=slowdown or fallback.slowdown, source=source)


def save_profile(path: Path, cluster: Cluster, profile: Profile) -> None:
    """Merge a profile into the file; atomic, the last writer wins where two disagree."""
    known = read_or_empty(path, _File)
    for device in cluster.devices:
        for model in cluster.models:
            found = _get(profile.costs, device.id).get(model.id)
            if found is not None:
                known.costs[_key(cluster, device, model)] = found
        if device.id in profile.slowdown:
            known.slowdown[_device_key(cluster, device)] = profile.slowdown[device.id]
    write_whole(path, known)


def _get(costs: Mapping[str, dict[str, CallCosts]], device: str) -> dict[str, CallCosts]:
    return costs.get(device, {})


def _device_key(cluster: Cluster, device: Device) -> str:
    """Devices that share a machine slow each other down: their number belongs to the key."""
    cores = len(device.cores) or 1
    return f"{device.engine}/{len(cluster.devices)} devices/{cores} cores/{device.slots} slots"


def _key(cluster: Cluster, device: Device, model: Model) -> str:
    weights = model.digest or model.id
    return f"{_device_key(cluster, device)}/{weights}/{model.context_tokens}"
