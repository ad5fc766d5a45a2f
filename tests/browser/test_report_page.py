"""The page of a suite's report, at the widths of a desk and of a telephone, light and dark."""

from pathlib import Path

import pytest
from tests.browser.conftest import Tab
from tests.unit.bench.live_runs import latency_report, live_report
from tests.unit.bench.suites.test_real_dag import instance_folder

from fate.bench.suites.command import Options, run_suite

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Texts that lie over another one of the same plot, by more than a pixel.
OVERLAPS = """
[...document.querySelectorAll("svg")].flatMap((plot) => {
  const boxes = [...plot.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
    a.left + 1 < b.right && b.left + 1 < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom));
}).length
"""
#: Text that leaves the screen: tables may, inside of a box that scrolls.
OUTSIDE = """
[...document.querySelectorAll("main *")].filter((node) => !node.closest(".wide")
  && node.getBoundingClientRect().right > innerWidth + 1).length
"""
#: The least contrast of running text on what lies behind it.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92
      : ((value + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = getComputedStyle(node).backgroundColor;
      if (!found.endsWith(", 0)") && found !== "transparent") return found;
    }
    return "white";
  };
  return Math.min(...[...document.querySelectorAll("p, h1, h2, h3, td, th, dt, dd, b, .scale i")]
    .filter((node) => node.offsetParent && node.innerText.trim())
    .map((node) => {
      const [a, b] = [getComputedStyle(node).color, behind(node)].map(light);
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }));
})()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run on three small files."""
    home = tmp_path_factory.mktemp("report")
    options = Options(
        seeds="7",
        quick=True,
        policies="late-eft,sufferage,sufferage-state",
        processes=1,
        instances=instance_folder(home / "dags"),
    )
    run_suite("real-dag", home / "out", lambda _: None, options)
    return home / "out" / "report.html"


@pytest.fixture(scope="module")
def pages(report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind by its name."""
    home = tmp_path_factory.mktemp("measured")
    return {
        "suite": report,
        "live": live_report(home / "live"),
        "latency": latency_report(home / "latency"),
    }


@pytest.mark.parametrize("kind", ["suite", "live", "latency"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(
    tab: Tab, pages: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    """Nothing leaves the screen, no labels overlap, text is told from what it lies on."""
    tab.do("size", width, 900, touch=width < 500)
    tab.do("scheme", scheme)
    tab.open(pages[kind])
    tab("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert tab("document.documentElement.scrollWidth") <= width
    assert tab(OUTSIDE) == 0
    assert tab(OVERLAPS) == 0
    assert tab(CONTRAST) >= 4.5


def test_every_plot_of_a_suite_is_there(tab: Tab, report: Path) -> None:
    """Bars with whiskers, the heat map with its scale, one instance under two policies."""
    tab.open(report)
    assert tab("document.querySelectorAll('.bar .whisker').length") > 0
    assert tab("document.querySelectorAll('.heat td').length") == 3 * 6
    assert tab("document.querySelectorAll('.scale i').length") == 5
    assert tab("document.querySelectorAll('.gantt').length") == 2
    assert tab("document.querySelectorAll('.gantt .tick').length") > 4
