"""Cost estimates that start from a profile and follow what the engines report.

Two levels of correction, both robust averages of log(measured / estimated): one per device and
activity (a machine that is busier than when it was calibrated slows everything), one per device,
model and activity on top. The core owns the estimator and feeds it engine-measured seconds only,
so that a replay learns the same numbers.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from fate.cost.profile import CallCosts, Coefficients, Profile, guess_costs
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.catalog import Cluster
from fate.domain.snapshot import F64

Kind: TypeAlias = Literal["load", "unload", "prefill", "decode"]

_KINDS: tuple[Kind, ...] = ("load", "unload", "prefill", "decode")
#: A single measurement moves an average by at most this factor: outliers must not own it.
_CLIP = math.log(4.0)
#: Averages never get stiffer than one in this many, so they follow a changing machine.
_MEMORY = 12
#: Below this many seconds a measurement says more about the clock than about the cost.
_RESOLUTION_S = 1e-6
#: Where a profile is made up, so many calls make an estimate one to judge a device by.
_TRUSTED_CALLS = 3
#: Sources of profiles that nobody measured on the cluster at hand.
_MADE_UP = ("guess", "typical")


@dataclass(slots=True)
class _Average:
    """A robust running mean of log ratios."""

    count: int = 0
    mean: float = 0.0

    def add(self, value: float) -> None:
        """Move towards `value`, clipped; the first values count as if one of zero preceded."""
        self.count += 1
        step = min(max(value - self.mean, -_CLIP), _CLIP)
        self.mean += step / min(self.count + 1, _MEMORY)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTables:
    """Current estimates as arrays.

    Attributes:
        load_s, unload_s: [D, M] seconds, inf where the device cannot run the model.
        prefill, decode: [D, M, 3] coefficients (see `cost.terms`).
        slowdown: [D, S] factor on prefill and decode with s + 1 calls running.
    """

    load_s: F64
    unload_s: F64
    prefill: F64
    decode: F64
    slowdown: F64


class Estimator:
    """Estimates for every device and model of a cluster, corrected online."""

    def __init__(self, cluster: Cluster, profile: Profile) -> None:
        self._cluster = cluster
        self._device = {device.id: d for d, device in enumerate(cluster.devices)}
        self._model = {model.id: m for m, model in enumerate(cluster.models)}
        self._base = {
            (d, m): profile.costs.get(device.id, {}).get(model.id) or guess_costs(model)
            for d, device in enumerate(cluster.devices)
            for m, model in enumerate(cluster.models)
            if cluster.supports(device, model)
        }
        self._measured = profile.source not in _MADE_UP
        self._by_device: dict[tuple[int, Kind], _Average] = {}
        self._by_model: dict[tuple[int, int, Kind], _Average] = {}
        self._slowdown = {
            d: [_Average(count=1, mean=math.log(f)) for f in profile.slowdown.get(device.id, ())]
            for d, device in enumerate(cluster.devices)
        }
        self._tables = _unknown(cluster)
        self._stale = set(range(len(cluster.devices)))
        self._rates: dict[tuple[int, int], tuple[Coefficients, Coefficients]] = {}

    def tables(self) -> CostTables:
        """Return the current estimates; the arrays are not written to afterwards."""
        if self._stale:
            self._tables = self._renewed(self._tables)
            self._stale.clear()
        return self._tables

    def rates(self, d: int, m: int) -> tuple[Coefficients, Coefficients]:
        """Return the current prefill and decode coefficients of a supported pair."""
        found = self._rates.get((d, m))
        if found is None:
            base = self._base[d, m]
            found = (
                scaled(base.prefill, self._factor(d, m, "prefill")),
                scaled(base.decode, self._factor(d, m, "decode")),
            )
            self._rates[d, m] = found
        return found

    def trusted(self, d: int, m: int) -> bool:
        """Whether a pair's estimates are measured: good enough to call a device slow."""
        seen = self._by_model.get((d, m, "decode")) or self._by_model.get((d, m, "prefill"))
        return self._measured or (seen is not None and seen.count >= _TRUSTED_CALLS)

    def load_seconds(self, d: int, m: int) -> float:
        """Return the current estimate of a load of a supported pair [s]."""
        return self._base[d, m].load_s * self._factor(d, m, "load")

    def concurrent(self, d: int, calls: int) -> float:
        """Return the factor on a call's seconds with so many running; unknown: one by one."""
        if calls <= 1:
            return 1.0
        known = self._slowdown[d]
        return math.exp(known[calls - 1].mean) if calls <= len(known) else float(calls)

    def observe_load(self, device: str, model: str, seconds: float) -> None:
        """Learn from a finished load."""
        pair = self._pair(device, model)
        self._learn(pair, "load", seconds, self._base[pair].load_s)

    def observe_unload(self, device: str, model: str, seconds: float) -> None:
        """Learn from a finished unload."""
        pair = self._pair(device, model)
        self._learn(pair, "unload", seconds, self._base[pair].unload_s)

    def observe_prefill(
        self, device: str, model: str, new: int, cached: int, seconds: float, *, concurrency: int
    ) -> None:
        """Learn from the prefill of `new` tokens behind `cached` ones."""
        pair = self._pair(device, model)
        expected = prefill_seconds(float(new), float(cached), *self._base[pair].prefill)
        self._learn(pair, "prefill", seconds, expected, concurrency)

    def observe_decode(
        self, device: str, model: str, tokens: int, depth: int, seconds: float, *, concurrency: int
    ) -> None:
        """Learn from `tokens` generated behind a prompt of `depth` tokens."""
        pair = self._pair(device, model)
        expected = decode_seconds(float(tokens), float(depth), *self._base[pair].decode)
        self._learn(pair, "decode", seconds, expected, concurrency)

    def profile(self, source: str) -> Profile:
        """Return a profile with everything learned folded in, for the next run."""
        costs: dict[str, dict[str, CallCosts]] = {d.id: {} for d in self._cluster.devices}
        for (d, m), base in self._base.items():
            load, unload, prefill, decode = (self._factor(d, m, kind) for kind in _KINDS)
            costs[self._cluster.devices[d].id][self._cluster.models[m].id] = CallCosts(
                load_s=base.load_s * load,
                unload_s=base.unload_s * unload,
                prefill=scaled(base.prefill, prefill),
                decode=scaled(base.decode, decode),
            )
        slowdown = {
            self._cluster.devices[d].id: tuple(math.exp(a.mean) for a in averages)
            for d, averages in self._slowdown.items()
            if averages
        }
        return Profile(costs=costs, slowdown=slowdown, source=source)

    def _pair(self, device: str, model: str) -> tuple[int, int]:
        return self._device[device], self._model[model]

    def _learn(
        self,
        pair: tuple[int, int],
        kind: Kind,
        seconds: float,
        expected_s: float,
        concurrency: int = 1,
    ) -> None:
        if seconds < _RESOLUTION_S or expected_s < _RESOLUTION_S:
            return
        d, m = pair
        ratio = math.log(seconds / expected_s)
        if concurrency > 1:
            self._learn_slowdown(d, concurrency, ratio - math.log(self._factor(d, m, kind)))
        else:
            device = self._by_device.setdefault((d, kind), _Average())
            device.add(ratio)
            self._by_model.setdefault((d, m, kind), _Average()).add(ratio - device.mean)
        self._stale.add(d)
        for other in range(len(self._model)):
            self._rates.pop((d, other), None)

    def _learn_slowdown(self, d: int, concurrency: int, excess: float) -> None:
        averages = self._slowdown[d]
        while len(averages) < concurrency:
            averages.append(_Average())
        averages[concurrency - 1].add(max(excess, 0.0))

    def _factor(self, d: int, m: int, kind: Kind) -> float:
        device, model = self._by_device.get((d, kind)), self._by_model.get((d, m, kind))
        log_factor = (device.mean if device else 0.0) + (model.mean if model else 0.0)
        return math.exp(log_factor)

    def _renewed(self, before: CostTables) -> CostTables:
        """Return tables with the rows of devices about which something was learned made anew."""
        load, unload = before.load_s.copy(), before.unload_s.copy()
        prefill, decode = before.prefill.copy(), before.decode.copy()
        slowdown = before.slowdown.copy()
        for d in self._stale:
            for m in range(len(self._model)):
                base = self._base.get((d, m))
                if base is not None:
                    load[d, m] = base.load_s * self._factor(d, m, "load")
                    unload[d, m] = base.unload_s * self._factor(d, m, "unload")
                    prefill[d, m], decode[d, m] = self.rates(d, m)
            widest = slowdown.shape[1]
            factors = [math.exp(average.mean) for average in self._slowdown[d][:widest]]
            slowdown[d, : len(factors)] = factors
        return CostTables(
            load_s=load, unload_s=unload, prefill=prefill, decode=decode, slowdown=slowdown
        )


def _unknown(cluster: Cluster) -> CostTables:
    """Return tables of devices that nothing can run on."""
    shape = (len(cluster.devices), len(cluster.models))
    widest = max(device.slots for device in cluster.devices)
    return CostTables(
        load_s=np.full(shape, np.inf),
        unload_s=np.full(shape, np.inf),
        prefill=np.zeros((*shape, 3)),
        decode=np.zeros((*shape, 3)),
        slowdown=np.ones((shape[0], widest)),
    )


def scaled(coefficients: Coefficients, factor: float) -> Coefficients:
    """Return coefficients of a cost that is `factor` times as high."""
    fixed, per_token, per_depth = coefficients
    return fixed * factor, per_token * factor, per_depth * factor
