"""What a device is known to cost before this run has measured anything."""

import msgspec

from fate.domain.catalog import Cluster, Device, Model

#: (fixed, per token, per token and depth), see `terms`.
Coefficients = tuple[float, float, float]


class CallCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of one model on one device, in seconds; prefill and decode as coefficients."""

    load_s: float
    unload_s: float
    prefill: Coefficients
    decode: Coefficients


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Costs by device and model; `slowdown[device][n]` is the factor with n + 1 calls at once.

    `source` says where it comes from: `declared`, `guess`, or `calibrated` with a date.
    """

    costs: dict[str, dict[str, CallCosts]]
    slowdown: dict[str, tuple[float, ...]] = {}
    source: str = "guess"


#: Rates of a small CPU core running a 4-bit model, per byte of weights: only where nothing is
#: known. The first calls of a run correct them.
_LOAD_BYTES_PER_S = 200e6
_PREFILL_BYTES_PER_S = 20e9
_DECODE_BYTES_PER_S = 6e9


def guess_costs(model: Model) -> CallCosts:
    """Return costs from a model's size alone: bandwidth for loads and decode, compute for prefill.

    Memory-bound decode reads the weights once a token; compute-bound prefill is a few times
    quicker a token.
    """
    weight = float(max(model.weight_bytes, 1))
    return CallCosts(
        load_s=0.2 + weight / _LOAD_BYTES_PER_S,
        unload_s=0.05,
        prefill=(0.01, weight / _PREFILL_BYTES_PER_S, 0.0),
        decode=(0.0, weight / _DECODE_BYTES_PER_S, 0.0),
    )


def guess_profile(cluster: Cluster) -> Profile:
    """Return a profile for every supported (device, model) pair, from sizes alone."""

    def row(device: Device) -> dict[str, CallCosts]:
        supported = [m for m in cluster.models if cluster.supports(device, m)]
        return {model.id: guess_costs(model) for model in supported}

    return Profile(costs={device.id: row(device) for device in cluster.devices})
