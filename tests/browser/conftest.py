"""A page of a simulated run in headless Chromium, with real clicks, keys and wheel."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.graphs import chain, cluster, profile

import fate
from fate.bench import chromium
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.drivers.trail import trail
from fate.policy.fate.policy import FatePolicy
from fate.store.journal import Header
from fate.view.columns import Sheet
from fate.view.fold import fold
from fate.view.metrics import summary
from fate.view.timeline import write_timeline

EVIL = "<img src=x onerror=document.title=1>"


class Tab:
    """A tab whose every call is waited for."""

    def __init__(self, page: chromium.Page, runner: asyncio.Runner) -> None:
        self.page, self._runner = page, runner

    def __call__(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        return self._runner.run(self.page.run(script))

    def do(self, action: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the page, then let it draw."""
        found = self._runner.run(getattr(self.page, action)(*arguments, **named))
        self(
            "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
        )
        return found

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a page anew."""
        self.do("open", "about:blank")
        self.do("open", path.as_uri() + fragment)

    def middle(self, bar: int, run: int = 0) -> tuple[float, float]:
        """Return the point of the screen on which a bar's middle lies."""
        x, y = self(
            f"(() => {{ const run = runs[{run}], place = chart.places[{run}].get(run.row[{bar}]);"
            f"const box = chart.canvas.getBoundingClientRect();"
            f"const x = chart.x((run.start[{bar}] + run.end[{bar}]) / 2);"
            f"return [box.left + x, box.top + place.top + place.high / 2]; }})()"
        )
        return x, y

    @property
    def view(self) -> tuple[float, float]:
        """The stretch of time that is seen [s]."""
        a, b = self("[chart.view.a, chart.view.b]")
        return a, b

    def text(self, selector: str) -> str:
        """Return the text of what a selector finds; empty where it is hidden."""
        return self(
            f"(() => {{ const node = document.querySelector({selector!r});"
            f"return node && !node.hidden ? node.innerText : ''; }})()"
        )


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The loop on which the browser is talked to."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def started(runner: asyncio.Runner) -> Iterator[Tab]:
    """One browser for all tests."""
    if not any(map(shutil.which, chromium.NAMES)):
        pytest.skip("no Chromium is installed")
    context = chromium.browser()
    yield Tab(runner.run(context.__aenter__()), runner)
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def tab(started: Tab) -> Iterator[Tab]:
    """A tab of usual size in which nothing may go wrong."""
    started.do("size", 1280, 800)
    started.do("scheme", "light")
    started.page.problems.clear()
    started.page.requests.clear()
    yield started
    assert started.page.problems == []
    outside = [one for one in started.page.requests if not one.startswith(("file:", "about:"))]
    assert outside == []


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Path]:
    """Write the page of three chains under policies that differ in their depth."""

    def make(names: Sequence[str]) -> Path:
        path = tmp_path_factory.mktemp("page") / "timeline.html"
        write_timeline(path, [sheet(name, depth) for depth, name in enumerate(names)])
        return path

    return make


@pytest.fixture(scope="session")
def one(write: Callable[[Sequence[str]], Path]) -> Path:
    """The page of one run; its name and a workflow's are hostile."""
    return write([EVIL])


@pytest.fixture(scope="session")
def two(write: Callable[[Sequence[str]], Path]) -> Path:
    """The page of two runs."""
    return write(["first", "second"])


def sheet(name: str, depth: int) -> Sheet:
    """Return a simulated run."""
    on = cluster()
    setup = Setup(cluster=on, profile=profile(on), policy=FatePolicy(depth=depth))
    graphs = [chain(EVIL if n == 0 else f"w{n}", "ABAB"[n:] + "AB") for n in range(3)]
    outcome = simulate([(0.0, graph) for graph in graphs], setup)
    history = fold(on, outcome.records)
    header = Header(
        run="run-1",
        created_at="",
        simulated=True,
        policy="fate",
        cluster=on,
        options=setup.options,
        profile=setup.profile,
        workflow=name,
        version=fate.__version__,
    )
    return Sheet(
        facts=header,
        history=history,
        summary=summary(header, history),
        trail=trail(outcome.records, setup, history),
    )
