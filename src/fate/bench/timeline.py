"""`fate bench timeline`: how fast the page of a large run opens and pans in headless Chromium."""

import asyncio
import time
from pathlib import Path

from fate.bench import synthetic
from fate.bench.chromium import Page, browser, chromium_path
from fate.bench.decisions import run_chains
from fate.bench.policies import ready_policy
from fate.bench.report import Echo, Report, Target
from fate.bench.statistics import middle
from fate.drivers.trail import trail
from fate.store.journal import Header
from fate.view.columns import Sheet
from fate.view.fold import fold
from fate.view.metrics import summary
from fate.view.timeline import write_timeline

POLICY = "late-eft"
_DEVICES, _READY = 8, 16
#: Seconds of dragging that are measured at each zoom; the share of the run seen meanwhile.
_DRAG_S = 3.0
_ZOOMS = {"half": 0.5, "twentieth": 0.05}
#: Pixels that the pointer moves between two events.
_STEP = 9.0

#: Resolves to the milliseconds from the start of the navigation until the bars are drawn.
_WHEN_DRAWN = """new Promise((resolve) => {
    const look = () => {
        const mark = performance.getEntriesByName("drawn")[0];
        if (mark) resolve(mark.startTime);
        else requestAnimationFrame(look);
    };
    look();
})"""

TARGETS = [
    Target(cell="open", policy="page", metric="seconds", kind="at_most", bound=2.0),
    *[
        Target(cell=f"pan-{zoom}", policy="page", metric="frame_ms", kind="at_most", bound=50.0)
        for zoom in _ZOOMS
    ],
]


def timeline(out: Path, echo: Echo, *, bars: int = 10_000, repeat: int = 5) -> int:
    """Simulate a run of `bars` bars, write its page, measure; return how many targets are missed.

    Raises:
        BrowserError: there is no Chromium.
    """
    chromium_path()
    report = Report("timeline", out, echo)
    report.show_machine()
    path = out / "timeline.html"
    count = make_page(path, bars, echo)
    size = path.stat().st_size
    echo(f"{path}: {count} bars, {size / 2**20:.1f} MiB")
    asyncio.run(_measure(path.resolve().as_uri(), report, repeat))
    report.run({"bars": count, "bytes": size})
    report.show_rows()
    echo("")
    missed = report.show_targets(TARGETS)
    echo(f"summary: {report.write()}")
    return missed


def make_page(path: Path, bars: int, echo: Echo) -> int:
    """Write the page of a simulated run of at least `bars` bars; return how many it has."""
    echo(f"simulating a run of {bars} bars on {_DEVICES} devices ...")
    workflows = -(-bars // synthetic.CHAIN)
    policy = ready_policy(POLICY)
    outcome, setup = run_chains(policy, ready=_READY, devices=_DEVICES, workflows=workflows)
    history = fold(setup.cluster, outcome.records)
    header = Header(
        run="bench",
        created_at="",
        simulated=True,
        policy=POLICY,
        cluster=setup.cluster,
        options=setup.options,
        profile=setup.profile,
        workflow=f"{workflows} chains",
    )
    echo("recomputing its decisions ...")
    sheet = Sheet(
        facts=header,
        history=history,
        summary=summary(header, history),
        trail=trail(outcome.records, setup, history),
    )
    write_timeline(path, [sheet])
    return len(history.bars)


async def _measure(address: str, report: Report, repeat: int) -> None:
    async with browser() as page:
        opened = [await open_seconds(page, address) for _ in range(repeat)]
        report.add("open", "page", "seconds", middle(opened))
        for name, share in _ZOOMS.items():
            rates = [await pan_rate(page, share, seconds=_DRAG_S) for _ in range(repeat)]
            report.add(f"pan-{name}", "page", "frames_per_s", middle(rates))
            report.add(f"pan-{name}", "page", "frame_ms", middle([1e3 / rate for rate in rates]))


async def open_seconds(page: Page, address: str) -> float:
    """Return the time from asking for the page until its bars are drawn [s]."""
    await page.open("about:blank")
    await page.open(address)
    return float(await page.run(_WHEN_DRAWN)) / 1e3


async def pan_rate(page: Page, share: float, *, seconds: float) -> float:
    """Drag back and forth over the lanes with a share of the run in view; return frames per s."""
    await page.run(
        f"chart.look({0.3 - share / 4} * chart.span, {0.3 + share * 3 / 4} * chart.span)"
    )
    box = await page.run("(({left, top, width}) => [left, top, width])"
                         "(chart.canvas.getBoundingClientRect())")  # fmt: skip
    left, right, y = box[0] + 0.4 * box[2], box[0] + 0.8 * box[2], box[1] + 60.0
    x, step = left, _STEP
    await page.mouse("mouseMoved", x, y)
    await page.mouse("mousePressed", x, y, button="left", clickCount=1)
    before, start_s = await page.run("chart.frames"), time.perf_counter()
    while (elapsed_s := time.perf_counter() - start_s) < seconds:
        step = -step if not left <= x + step <= right else step
        x += step
        await page.mouse("mouseMoved", x, y, button="left", buttons=1)
    frames = await page.run("chart.frames") - before
    await page.mouse("mouseReleased", x, y, button="left", clickCount=1)
    return frames / elapsed_s
