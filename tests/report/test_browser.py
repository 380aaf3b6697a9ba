"""The page in a real browser: quiet, asking for nothing, usable by pointer, by keyboard and without JavaScript."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from featstore.store import NewLabel, open_store, relabel
from featstore.toolkit import m4, m5

from .conftest import numbered, write_pictures

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

POINT = """() => {
  const view = [...Bokeh.index][0] ?? Object.values(Bokeh.index)[0];
  const source = Bokeh.documents[0].get_model_by_name("images");
  const corner = document.getElementById("map-plot").getBoundingClientRect();
  const frame = view.frame;
  return [corner.left + frame.x_scale.compute(source.data.x[0]), corner.top + frame.y_scale.compute(source.data.y[0])];
}"""


@pytest.fixture(scope="module")
def written(make_store, page_of, tmp_path_factory) -> Path:
    """A page with pictures, of labels and file names that would like to run scripts."""
    folder = tmp_path_factory.mktemp("page")
    label = "<script>window.hacked=1</script>"
    images = numbered((label, "b"), 24, 4) | {'"><img src=x onerror="window.hacked=1">.png': ("b", "train")}
    write_pictures(folder / "data", images)
    store = make_store(images, apart=0.5)
    X = store.bags()
    page = page_of(store, m4(0, 2).fit(X, X.labels), folder / "data")
    (folder / "report.html").write_bytes(page.html)
    return folder / "report.html"


@pytest.fixture(scope="module")
def wide(make_store, page_of, tmp_path_factory) -> Path:
    """A page of twelve classes with long names and many versions, without a place to break either."""
    classes = [f"{'Wide' * 15}{letter}" for letter in "abcdefghijkl"]
    images = numbered(classes, 48, 4) | {f"{'wide' * 15}.png": (classes[0], "train")}
    store = make_store(
        images, {"img_000.png": classes[0], "img_012.png": classes[0]}, apart=0.2, name=f"{'w' * 60}.store"
    )
    X = store.bags()
    for number in range(3):
        relabel(store.path, [NewLabel("img_001.png", group=f"{'group' * 12}{number}")])
    rows = [
        {"store": f"{'s' * 62}{n}", "preset": "m5", "max_blobs": None, "repeats": 0, "images": 9, "macro_f1_mean": 0.5}
        | dict.fromkeys(("macro_f1_std", "macro_f1_ci_low", "macro_f1_ci_high"), 0.1)
        for n in range(2)
    ]
    figure = {"mean": 0.5, "std": None, "ci_low": 0.4, "ci_high": 0.6}
    evaluation = dict.fromkeys(("macro_f1", "accuracy", "ece", "brier", "log_loss"), figure)
    of_class = {"images": 4} | dict.fromkeys(("f1", "precision", "recall", "f1_ci_low", "f1_ci_high"), 0.5)
    evaluation |= {
        "images": 48,
        "groups": 48,
        "folds": 5,
        "seeds": 1,
        "labels": "l" * 62,
        "per_class": {classes[0]: of_class},
    }
    model = m5(0, 2).fit(X, X.labels)
    page = page_of(open_store(store.path), model, sweep=rows, evaluation=evaluation, notes=("n" * 62,))
    path = tmp_path_factory.mktemp("wide") / "report.html"
    path.write_bytes(page.html)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, written) -> Iterator[Callable[..., Any]]:
    """Open the page; what it complains of, or asks for, is an error in the end."""
    contexts, heard, asked = [], [], []

    def show(message: Any) -> None:
        if message.type in ("error", "warning"):
            heard.append(message.text)

    def make(page: Path = written, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", show)
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("dialog", lambda dialog: heard.append(dialog.message))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        if settings.get("java_script_enabled", True):
            tab.wait_for_selector("#map.ready")
        return tab

    yield make
    for context in contexts:
        context.close()
    assert heard == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_it_fits_and_runs_nothing_that_is_not_its_own(opened, viewport, scheme) -> None:
    tab = opened(viewport=viewport, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert tab.evaluate("window.hacked") is None
    assert tab.is_visible("#map-plot")
    assert not tab.is_visible("#map-static")
    paper, ink = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (sum(map(int, paper[4:-1].split(","))) < sum(map(int, ink[4:-1].split(",")))) == (scheme == "dark")


WIDER = """() => [...document.querySelectorAll("main *, header *, footer *, nav *")]
  .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, #map-plot"))
  .map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 60)}`)"""


def test_names_without_a_space_make_no_page_wider_than_a_phone(opened, wide) -> None:
    tab = opened(wide, viewport=PHONE)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; each.hidden = false; })")
    assert tab.evaluate(WIDER) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_no_table_is_cut_off_on_paper(opened, wide) -> None:
    """On A4 with the browser's own margins, 1 cm."""
    tab = opened(wide, viewport={"width": 718, "height": 1000})
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    tab.emulate_media(media="print")
    cut = """() => [...document.querySelectorAll("table, svg, img")]
      .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
      .map((each) => each.textContent.slice(0, 90))"""
    assert tab.evaluate(cut) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 718


def test_pointing_shows_the_picture_and_choosing_keeps_it(opened) -> None:
    tab = opened()
    tab.locator("#map-plot").scroll_into_view_if_needed()
    x, y = tab.evaluate(POINT)
    tab.mouse.move(x - 2, y - 2)
    tab.mouse.move(x, y)
    tab.wait_for_selector("#map-tip:not([hidden])")
    drawn = "getComputedStyle(document.querySelector('{} .thumb')).backgroundImage.slice(0, 21)"
    assert tab.evaluate(drawn.format("#map-tip")) == 'url("data:image/webp;'
    tab.mouse.click(x, y)
    tab.wait_for_selector("#map-said:not([hidden])")
    assert tab.inner_text("#map-name") in tab.inner_text("#map-tip")
    tab.focus("#map-choice")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.evaluate(drawn.format("#map-said")) == 'url("data:image/webp;'


@pytest.mark.parametrize("how", ["fold", "error"])
def test_colours_change_with_the_choice(opened, how) -> None:
    tab = opened()
    colours = "Bokeh.documents[0].get_model_by_name('images').data.colour.join()"
    before = tab.evaluate(colours)
    tab.check(f"input[value={how}]")
    assert tab.evaluate(colours) != before
    assert tab.locator("[data-legend]:visible").get_attribute("data-legend") == how


def test_after_printing_the_legend_is_that_of_the_colours_again(opened) -> None:
    tab = opened()
    tab.check("input[value=error]")
    legend = "[...document.querySelectorAll('[data-legend]:not([hidden])')].map((each) => each.dataset.legend)"
    for event, shown in (("beforeprint", "class"), ("afterprint", "error")):
        tab.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        assert tab.evaluate(legend) == [shown]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axes_of_the_map_are_written_in_the_colour_of_text(opened, scheme) -> None:
    tab = opened(color_scheme=scheme)
    read = "Bokeh.documents[0].get_model_by_name('{}').axis_label_text_color"
    body = "getComputedStyle(document.body).color"
    assert {tab.evaluate(read.format(name)) for name in ("x-axis", "y-axis")} == {tab.evaluate(body)}
    tab.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    for _ in range(50):  # a browser tells of the change with the next frame; the page's policy forbids to wait in it
        if tab.evaluate(read.format("x-axis")) == tab.evaluate(body):
            return
        tab.wait_for_timeout(50)
    pytest.fail("the axes kept the colour of the other scheme")


def test_a_neighbour_list_at_a_time(opened) -> None:
    tab = opened()
    tab.select_option("#neighbour-choice", index=2)
    shown = tab.locator("#neighbour-lists > details:visible")
    assert shown.count() == 1
    assert "test_002.png" in shown.inner_text()
    assert shown.locator(".thumb").count() == 7


def test_without_javascript_all_of_it_is_there(opened) -> None:
    tab = opened(java_script_enabled=False)
    assert tab.is_visible("#map-static svg")
    assert tab.locator("#neighbour-lists > details:visible").count() == 4
    assert not tab.is_visible("#map-choice")
    tab.locator("#neighbour-lists summary").first.click()
    assert tab.locator("#neighbour-lists .thumb:visible").count() == 7


def test_paper_shows_the_chart_and_not_the_canvas(opened) -> None:
    tab = opened()
    tab.emulate_media(media="print")
    assert tab.is_visible("#map-static")
    assert not tab.is_visible("#map-plot")
    assert not tab.is_visible("nav")
    assert tab.pdf()[:4] == b"%PDF"


def test_the_keyboard_reaches_the_content_first(opened) -> None:
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#main")
