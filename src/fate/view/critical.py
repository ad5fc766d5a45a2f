"""The critical path: the chain of activities that the end of a run waited for."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from fate.view.history import HOST, Bar, History

#: Ends and starts this close together touch [s].
_TOUCH_S = 1e-6


class _Ends:
    """Bars in the order of their ends."""

    def __init__(self, numbers: Iterable[int], bars: Sequence[Bar]) -> None:
        self.numbers = sorted(numbers, key=lambda n: (bars[n].end_s, n))
        self.ends = [bars[n].end_s for n in self.numbers]

    def last_before(self, at_s: float) -> int | None:
        """Return the bar that ended last by then."""
        place = bisect_right(self.ends, at_s + _TOUCH_S)
        return self.numbers[place - 1] if place else None


def critical_path(history: History) -> tuple[int, ...]:
    """Return positions in `history.bars`, in the order of time.

    From the activity that ended last, back: each began when the last of what it needed had
    ended, which is an activity of a stage it starts from, or one that held its device. Where
    several ended together, a stage it starts from is preferred. Time between two activities of
    the path is waiting: for a plan, or for a decision to wait.
    """
    bars = history.bars
    if not bars:
        return ()
    needs = {stage.instance: stage.needs for stage in history.stages}
    by_stage = _grouped(bars, lambda bar: bar.instance if bar.stop > bar.start else "")
    by_device = _grouped(bars, lambda bar: bar.device if bar.device != HOST else "")
    now = max(range(len(bars)), key=lambda n: (bars[n].end_s, -n))
    path = [now]
    while True:
        bar = bars[now]
        sources = [by_stage[need] for need in needs.get(bar.instance, ()) if need in by_stage]
        before = [source.last_before(bar.start_s) for source in sources]
        if bar.device in by_device:
            before.append(by_device[bar.device].last_before(bar.start_s))
        known = [n for n in before if n is not None and n < now]
        if not known:
            return tuple(reversed(path))
        latest_s = max(bars[n].end_s for n in known)
        now = next(n for n in known if bars[n].end_s >= latest_s - _TOUCH_S)
        path.append(now)


def _grouped(bars: Sequence[Bar], key: Callable[[Bar], str]) -> dict[str, _Ends]:
    found: dict[str, list[int]] = {}
    for number, bar in enumerate(bars):
        if name := key(bar):
            found.setdefault(name, []).append(number)
    return {name: _Ends(numbers, bars) for name, numbers in found.items()}
