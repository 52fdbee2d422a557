"""The page in a real browser: opened from a file, no request, no error; sliders, keys, themes and print work."""

import shutil
from pathlib import Path

import pytest
from made_runs import make_run
from neurotwin import report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    """The installed Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A report of two runs."""
    root = tmp_path_factory.mktemp("runs")
    made = [make_run(root, "aaaa", figures=True), make_run(root, "bbbb", seed=1)]
    return Path(report(made, format="html", output=root / "report.html", draw=False)).resolve()


@pytest.fixture
def page(browser, path):
    """The opened page; ``page.said`` holds console errors, ``page.asked`` every request."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened.set_default_timeout(300_000)  # ms; a busy machine takes minutes to draw what a quiet one draws in a second
    opened.said, opened.asked = [], []
    opened.on("console", lambda message: opened.said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(path.as_uri())
    for plot in opened.locator(".plot:visible").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
    yield opened
    opened.close()


def plot(page, title):
    return page.locator("figure", has=page.get_by_text(f"{title}.", exact=True)).locator(".plot").first


def test_no_error_and_no_request(page, path):
    assert page.said == []
    outside = [url for url in page.asked if not url.startswith(("data:", "blob:")) and url != path.as_uri()]
    assert outside == []
    assert page.locator(".plot").count() == 8, "five figures, and the learning curves together and of each run"


def test_nothing_offers_to_send_a_figure_away(page):
    buttons = [button.get_attribute("data-title") for button in page.locator(".modebar-btn").all()]
    assert any("Download" in text for text in buttons)
    assert not any("Share" in text or "Cloud" in text for text in buttons)
    assert "form-action 'none'" in page.locator("meta[http-equiv]").get_attribute("content")


def test_one_case_is_seen_and_the_list_shows_another(page):
    browser = page.locator(".browser")
    browser.scroll_into_view_if_needed()
    titles = browser.locator("figure:visible figcaption b")
    assert (browser.locator("option").count(), titles.all_inner_texts()) == (3, ["Volume."]), "the middle one first"
    browser.get_by_label("Exam").select_option("Case 2")
    assert titles.all_inner_texts() == ["Case 2."]
    browser.locator("figure:visible .main-svg").first.wait_for()
    browser.get_by_role("button", name="previous").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert titles.all_inner_texts() == ["Case 0."]
    assert browser.get_by_role("button", name="previous").is_disabled()
    assert browser.locator(".where").inner_text() == "1 of 3"
    assert page.said == []


def test_a_case_drawn_while_hidden_fills_its_place(page):
    browser = page.locator(".browser")
    browser.scroll_into_view_if_needed()
    page.set_viewport_size({"width": 800, "height": 900})
    for name in ("Case 0", "Volume"):
        browser.get_by_label("Exam").select_option(name)
        page.locator("#theme").click()
        page.wait_for_timeout(300)
    wide = browser.locator("figure:visible .plot").bounding_box()["width"]
    assert browser.locator("figure:visible .main-svg").first.bounding_box()["width"] == pytest.approx(wide, abs=2)


def test_text_in_captions_is_text(page):
    assert page.get_by_text("</script><b>not bold</b>").count() == 1
    assert page.get_by_text("neurotwin train <b>paper</b>").count() == 2


def test_sliders_move_through_the_volume_by_keyboard(page):
    figure = plot(page, "Volume")
    sliders = figure.locator("xpath=..").locator("input[type=range]")
    assert sliders.count() == 3
    read = "plot => plot.data[2].source"
    before, label = figure.evaluate(read), sliders.nth(2).get_attribute("aria-valuetext")
    sliders.nth(2).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert figure.evaluate(read) != before
    assert label.startswith("axial")
    assert sliders.nth(2).get_attribute("aria-valuetext") != label


def test_zoom_by_keyboard_and_by_dragging_moves_all_rows(page):
    figure = plot(page, "Voltage")
    spans = "plot => ['xaxis', 'xaxis2'].map(k => plot._fullLayout[k].range[1] - plot._fullLayout[k].range[0])"
    whole = figure.evaluate(spans)
    figure.focus()
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    assert figure.evaluate(spans) == pytest.approx([whole[0] / 2] * 2)
    page.keyboard.press("0")
    page.wait_for_timeout(200)
    assert figure.evaluate(spans) == pytest.approx(whole)
    box = figure.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 25, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert figure.evaluate(spans) == pytest.approx([whole[0] / 4] * 2, rel=0.1)


def test_dark_keeps_the_zoom_and_print_is_light(page):
    figure = plot(page, "Voltage")
    figure.focus()
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    zoomed = figure.evaluate("plot => plot._fullLayout.xaxis.range")
    page.locator("#theme").click()
    page.wait_for_timeout(300)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert figure.evaluate("plot => plot._fullLayout.font.color") == "#e8e9ec"
    assert figure.evaluate("plot => plot._fullLayout.xaxis.range") == pytest.approx(zoomed)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.said == []


def test_a_narrow_screen_scrolls_tables_and_nothing_else(page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
