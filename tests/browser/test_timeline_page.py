"""The timeline page under a hand: hover, click, wheel, drag, keys, search, theme, comparison."""

from pathlib import Path

import pytest
from tests.browser.conftest import EVIL, Tab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: A bar that is a call with a decision behind it.
CALL = "[...runs[0].tables.keys()][2]"


def test_it_opens_with_everything_drawn(tab: Tab, one: Path) -> None:
    """Bars on the canvas, the banner of a simulated run, and names as text, whatever they are."""
    tab.open(one)
    assert tab("chart.frames") >= 1
    assert tab.text("#simulated") == "Simulated: no model ran, times are virtual."
    assert tab.text("h1") == EVIL
    assert tab("document.querySelectorAll('img').length") == 0
    colours = tab(
        "(() => { const {width, height} = chart.canvas; const seen = new Set();"
        "const data = new Uint32Array(chart.ctx.getImageData(0, 0, width, height).data.buffer);"
        "for (const pixel of data) seen.add(pixel); return seen.size; })()"
    )
    assert colours > 20


def test_the_card_tells_what_the_pointer_is_on(tab: Tab, one: Path) -> None:
    """And goes when the pointer does."""
    tab.open(one)
    bar = tab(CALL)
    tab.do("mouse", "mouseMoved", *tab.middle(bar))
    card = tab.text("#tip")
    assert tab(f"runs[0].label({bar})") in card
    assert "prompt" in card and "expected" in card and "placed by" in card
    tab.do("mouse", "mouseMoved", 640, 30)
    assert tab.text("#tip") == ""


def test_a_click_opens_the_decision(tab: Tab, one: Path) -> None:
    """Candidates, terms and the counterfactual; Escape closes it."""
    tab.open(one)
    bar = tab(CALL)
    tab.do("click", *tab.middle(bar))
    panel = tab.text("#panel")
    assert "Why here" in panel and " won by " in panel
    assert "it would have ended" in panel
    assert "fate explain run-1" in panel
    devices = tab("[...document.querySelectorAll('.price b')].map((node) => node.textContent)")
    assert sorted(devices) == ["d0", "d1"]
    assert tab("document.querySelector('.price.chosen b').textContent") == tab(
        f"runs[0].devices[runs[0].rows[runs[0].row[{bar}]][0]].id"
    )
    tab.do("key", "Escape")
    assert tab.text("#panel") == ""


def test_the_wheel_zooms_around_the_pointer(tab: Tab, one: Path) -> None:
    """The time under the pointer stays under it."""
    tab.open(one)
    x, y = tab.middle(tab(CALL))
    at = f"chart.t({x} - chart.canvas.getBoundingClientRect().left)"
    before, width = tab(at), tab.view[1] - tab.view[0]
    tab.do("wheel", x, y, -400)
    assert tab.view[1] - tab.view[0] < 0.7 * width
    assert tab(at) == pytest.approx(before, abs=width / 900)


def test_dragging_pans(tab: Tab, one: Path) -> None:
    """By as much as the pointer moves, and opens nothing."""
    tab.open(one)
    tab("chart.look(chart.span * 0.4, chart.span * 0.6)")
    start = tab.view[0]
    moved = tab("(200 / (chart.width - chart.gutter - MARGIN)) * chart.span * 0.2")
    y = tab.middle(tab(CALL))[1]
    tab.do("drag", [(700, y), (600, y), (500, y)])
    assert tab.view[0] == pytest.approx(start + moved, rel=0.01)
    assert tab.text("#panel") == ""


def test_keys_pan_zoom_fit_and_step(tab: Tab, one: Path) -> None:
    """Everything the mouse does."""
    tab.open(one)
    tab("chart.canvas.focus()")
    whole = tab.view
    tab.do("key", "+")
    zoomed = tab.view
    assert zoomed[1] - zoomed[0] == pytest.approx(0.6 * (whole[1] - whole[0]))
    tab.do("key", "ArrowRight")
    assert tab.view[0] > zoomed[0]
    tab.do("key", "0")
    assert tab.view == whole
    tab.do("key", "j")
    tab.do("key", "j")
    assert tab("chart.hover.bar") == 1
    tab.do("key", "Enter")
    assert tab.text("#panel h2") == tab("aboutBar(runs[0], 1)[0]")
    assert tab("document.activeElement.id") == "panel"


def test_the_strip_selects_a_range(tab: Tab, one: Path) -> None:
    """A drag over the overview shows that stretch; a double click everything."""
    tab.open(one)
    box = tab("(({left, top}) => [left, top])($('overview').getBoundingClientRect())")
    span = tab("chart.span")
    left, right = tab("[0.25, 0.5].map((share) => chart.overview.x(share * chart.span))")
    y = box[1] + 20
    tab.do("drag", [(box[0] + left, y), (box[0] + left + 30, y), (box[0] + right, y)])
    assert tab.view == pytest.approx((0.25 * span, 0.5 * span), abs=0.01 * span)


def test_search_dims_the_rest(tab: Tab, one: Path) -> None:
    """The number of bars found stands in the box, and Enter goes to the first."""
    tab.open(one)
    tab.do("key", "/")
    assert tab("document.activeElement.id") == "search"
    for letter in "w1/s2":
        tab.do("key", letter)
    count = tab("[...runs[0].name].filter((n, i) => runs[0].to[i] > runs[0].from[i] "
                "&& block.texts[n] === 'w1/s2').length")  # fmt: skip
    assert tab("$('matches').textContent") == str(count)
    tab.do("key", "Enter")
    assert tab("runs[0].text(runs[0].name[chart.hover.bar])") == "w1/s2"


def test_light_and_dark(tab: Tab, one: Path) -> None:
    """As the system has it, and the switch overrides it."""
    tab.do("scheme", "dark")
    tab.open(one)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = tab(background)
    tab("document.querySelector('[data-act=theme]').click()")
    assert tab(background) != dark
    tab.do("scheme", "light")
    tab("delete document.documentElement.dataset.theme")
    assert tab(background) != dark


def test_the_address_keeps_what_is_shown(tab: Tab, one: Path) -> None:
    """Range, bar and search come back with it."""
    tab.open(one)
    bar = tab(CALL)
    tab("chart.look(chart.span * 0.25, chart.span * 0.5)")
    tab.do("click", *tab.middle(bar))
    tab("new Promise((resolve) => setTimeout(resolve, 300))")
    seen, fragment = tab.view, tab("location.hash")
    tab.open(one, fragment)
    assert tab.view == pytest.approx(seen, abs=1e-3)
    assert tab("chart.opened.bar") == bar
    assert "Why here" in tab.text("#panel")


def test_layers_are_switched(tab: Tab, one: Path) -> None:
    """Without memory the chart is lower; the button says what is on."""
    tab.open(one)
    height = tab("chart.height")
    tab("document.querySelector('[data-show=memory]').click()")
    assert tab("chart.height") < height
    pressed = "document.querySelector('[data-show=memory]').getAttribute('aria-pressed')"
    assert tab(pressed) == "false"


def test_on_a_telephone_the_panel_is_a_sheet_at_the_bottom(tab: Tab, one: Path) -> None:
    """Nothing is wider than the screen, and a tap opens the decision."""
    tab.do("size", 390, 844, touch=True)
    tab.open(one)
    assert tab("document.documentElement.scrollWidth") <= 390
    cut = "[...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth)"
    assert tab(f"{cut}.length") == 0
    x, y = tab.middle(tab(CALL))
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    tab.do("send", "Input.dispatchTouchEvent", **touch)
    tab.do("send", "Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert "Why here" in tab.text("#panel")
    tab("document.getAnimations().forEach((animation) => animation.finish())")
    bottom, width = tab(
        "(({bottom, width}) => [bottom, width])($('panel').getBoundingClientRect())"
    )
    assert (round(bottom), round(width)) == (844, 390)
    assert tab.middle(tab(CALL))[1] < tab("$('panel').getBoundingClientRect().top")


def test_two_runs_share_the_axis(tab: Tab, two: Path) -> None:
    """Both are drawn, the card compares a stage with its twin, and the totals have deltas."""
    tab.open(two)
    assert tab("chart.headings.map(({run}) => run.letter)") == ["A", "B"]
    tab.do("mouse", "mouseMoved", *tab.middle(tab(CALL)))
    assert "in B" in tab.text("#tip") and "and ended" in tab.text("#tip")
    assert "B \u2212 A" in tab.text("#below")
    twin = tab(f"runs[1].find(runs[0].key({CALL}))")
    tab("scrollTo(0, 0)")
    tab(f"chart.reveal({{run: runs[1], bar: {twin}}})")
    tab.do("click", *tab.middle(twin, run=1))
    assert "in A" in tab.text("#panel")
