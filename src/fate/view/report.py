"""The table at the end of a run: where the time went. Plain ASCII, for any terminal or log."""

from fate.view.history import HOST, IDLE_LABELS, History
from fate.view.metrics import DeviceTimes, Summary

_WIDTH = 50

#: Letter of each use in a device's bar, and its field in `DeviceTimes`.
_LETTERS: tuple[tuple[str, str], ...] = (
    ("L", "load_s"),
    ("u", "unload_s"),
    ("m", "move_s"),
    ("w", "warm_s"),
    ("p", "prefill_s"),
    ("d", "decode_s"),
    ("t", "tool_s"),
    (".", "idle_s"),
)


def render(summary: Summary, history: History | None = None) -> str:
    """Return the table; with the history it says why devices were idle."""
    lines = [_headline(summary), _counts(summary), *_unusual(summary)]
    if summary.planning_ms.n:
        lines.append(_planning(summary))
    lines += ["", *_device_lines(summary)]
    if history is not None:
        lines += _idle_lines(history)
    for what, path in (("timeline", summary.timeline), ("journal", summary.journal)):
        if path is not None:
            lines.append(f"{what}: {path}")
    return "\n".join(lines)


def _headline(summary: Summary) -> str:
    text = f"{summary.status} in {summary.makespan_s:.2f} s"
    if summary.predicted_makespan_s is not None:
        text += f" (predicted {summary.predicted_makespan_s:.2f} s"
        if summary.predicted_makespan_s > 0:
            text += f", {summary.makespan_s / summary.predicted_makespan_s - 1:+.0%}"
        off = summary.prediction_error_at_half
        if off is not None and summary.expected_end[1:] and summary.status == "ok":
            text += f"; at half time off by {off:.0%}"
        text += ")"
    text += f", policy {summary.policy}, seed {summary.seed}"
    return f"simulated: {text}" if summary.simulated else text


def _counts(summary: Summary) -> str:
    stages = summary.stages
    text = f"stages: {stages.done} of {stages.total} done"
    for what, count in (("failed", stages.failed), ("skipped", stages.skipped)):
        text += f", {count} {what}" if count else ""
    share = summary.cached_tokens / summary.prompt_tokens if summary.prompt_tokens else 0.0
    return (
        f"{text}; model loads: {summary.model_loads}, evictions: {summary.evictions}; "
        f"prompt tokens: {summary.prompt_tokens}, {share:.0%} from cache"
    )


def _unusual(summary: Summary) -> list[str]:
    """Return what not every run has, in one line."""
    figures = (
        (summary.reused_items, "answered by an identical call"),
        (summary.dropped_items, "given up"),
        (summary.parked, "KV states parked"),
        (summary.restored, "restored"),
        (summary.copies, "copied"),
        (summary.moves, f"moved ({summary.moved_bytes / 1e6:.1f} MB)"),
        (summary.failed_attempts, "attempts failed"),
        (summary.device_losses, "devices lost"),
        (summary.drains, "devices drained or at rest"),
        (summary.interruptions, "interruptions"),
    )
    found = [f"{count} {what}" for count, what in figures if count]
    return [f"items and states: {', '.join(found)}"] if found else []


def _planning(summary: Summary) -> str:
    plans = summary.planning_ms
    return (
        f"plans: {plans.n}, p50 {plans.p50:.1f} ms, p99 {plans.p99:.1f} ms; "
        f"calls without a plan in time: {summary.fallback_share:.0%}; "
        f"scheduler: {summary.scheduler_cpu_share:.1%} of the cores"
    )


def _device_lines(summary: Summary) -> list[str]:
    """Return a bar of letters and the seconds behind it for every device.

    The host is left to a line of its own: that its tool slots idle means nothing.
    """
    devices = {name: times for name, times in summary.devices.items() if name != HOST}
    used = [
        (letter, field)
        for letter, field in _LETTERS
        if any(getattr(times, field) > 0 for times in devices.values())
    ]
    label = max((len(name) for name in devices), default=6)
    head = " ".join(f"{field.removesuffix('_s'):>8}" for _, field in used)
    lines = [f"{'':{label}}  {'where the time went':{_WIDTH}} {head}  [s]"]
    for device, times in devices.items():
        seconds = " ".join(f"{getattr(times, field):8.2f}" for _, field in used)
        lines.append(f"{device:{label}}  {_bar(times)} {seconds}")
    legend = " ".join(f"{letter}={field.removesuffix('_s')}" for letter, field in used)
    lines.append(f"{'':{label}}  {legend}")
    if HOST in summary.devices:
        lines.append(f"tools on the host: {summary.devices[HOST].tool_s:.2f} s")
    return lines


def _bar(times: DeviceTimes) -> str:
    """Return `_WIDTH` letters in proportion, by rounding the running sum."""
    total = sum(getattr(times, field) for _, field in _LETTERS)
    if total <= 0:
        return "." * _WIDTH
    text, so_far = "", 0.0
    for letter, field in _LETTERS:
        so_far += getattr(times, field)
        text += letter * (round(_WIDTH * so_far / total) - len(text))
    return text


def _idle_lines(history: History) -> list[str]:
    """Return the reasons for idle slots, largest first."""
    seconds = dict.fromkeys(IDLE_LABELS, 0.0)
    for span in history.idle:
        seconds[span.reason] += span.slots * (span.end_s - span.start_s)
    reasons = [
        f"{IDLE_LABELS[reason]} {value:.2f} s"
        for reason, value in sorted(seconds.items(), key=lambda pair: -pair[1])
        if value > 0
    ]
    return [f"idle: {', '.join(reasons)}"] if reasons else []
