"""Every page in headless Chromium, wide and narrow, light and dark."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright
from werkzeug.serving import make_server

from cloudping.intervals import intervals
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import SamplePage, samples
from cloudping.settings import load
from cloudping.summaries import Day
from cloudping.times import to_iso
from frontend import create_app
from frontend.data.samples import WindowSamples
from frontend.data.site import EXTENSION
from frontend.data.store import Histogram
from tests.frontend.conftest import SOURCES, figures, installation, run, site_of, this_minute
from tests.frontend.views.plan.planet import window

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome")
     if (path := shutil.which(name))), None)  # fmt: skip
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome in PATH"
)

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
PAGES = ("/", "/map", "/status", "/method", "/api", "/region/eu-west-1",
         "/pair/us-east-1/eu-west-1", "/plan", "/plan?clients=us-east-1,eu-west-1",
         "/region/nowhere")  # fmt: skip


class _Store:
    """Answers of the store, made up: the queries themselves are tested on moto."""

    def days(self, source: str, target: str, first: Any, last: Any) -> list[Day]:
        today = this_minute()
        return [
            Day(source, target, today.date() - timedelta(days=k),
                figures(68.0 + k % 7, 1400, today), "aws")
            for k in range(60, -1, -1) if k not in (20, 21)
        ]  # fmt: skip

    def hours(self, source: str, target: str, start: Any, end: Any) -> list[Any]:
        hour = this_minute().replace(minute=0)
        return [
            (hour - timedelta(hours=k), figures(68.0 + k % 5, 60, hour), "aws")
            for k in range(48, -1, -1)
        ]

    def samples(self, source: str, target: str, *_: Any) -> SamplePage:
        found = [
            one for k in range(20, -1, -1)
            for one in samples(run(source, this_minute() - timedelta(minutes=5 * k)), target)
        ]  # fmt: skip
        return SamplePage(found)

    def histogram(self, *_: Any) -> Histogram:
        return Histogram(tuple(range(6800, 6900)), tuple(range(100, 0, -1)), {"timeout": 2}, "aws")


class _AllPairs:
    def window(self, timeframe: str) -> WindowSamples:
        return window(7, SOURCES)


@pytest.fixture(scope="module")
def app() -> Flask:
    """The site over the small installation."""
    app = create_app(load({}), client=object(), background=False)
    site = site_of(app)
    site.keeper.snapshot = installation()
    app.extensions[EXTENSION] = replace(site, store=_Store(), all_pairs=_AllPairs())  # type: ignore[arg-type]  # a stand-in
    return app


@pytest.fixture(scope="module")
def address(app: Flask) -> Iterator[str]:
    """The site on a free port of this machine."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield started
        started.close()


@pytest.fixture(params=[WIDE, NARROW], ids=["1440", "390"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that fails the test on any script error, refused load or request elsewhere."""
    context = browser.new_context(viewport=request.param, base_url=address)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    opened.on("request", lambda r: None if r.url.startswith(address) else wrong.append(r.url))
    yield opened
    context.close()
    assert wrong == []


def test_clicking_through_every_page(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".matrix tbody tr")).to_have_count(3)
    for name, title in (("Map", "Map from"), ("Status", "Status"), ("API", "API")):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page).to_have_title(re.compile(f"^{title}"))
    page.goto("/")
    page.get_by_role("link", name="Ireland").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Europe (Ireland)")
    page.locator("tbody a[href='/pair/eu-west-1/us-east-1']").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ireland → N. Virginia")
    page.get_by_role("link", name="The other way").click()
    assert page.url.endswith("/pair/us-east-1/eu-west-1")


def test_nothing_is_wider_than_the_window(page: Page) -> None:
    for path in PAGES[:-1]:
        page.goto(path)
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, path


def test_all_graphs_of_a_pair_are_drawn(page: Page) -> None:
    page.goto("/pair/us-east-1/eu-west-1")
    for section in page.locator(".graph").all():
        section.scroll_into_view_if_needed()
        expect(section.locator("canvas").first).to_be_visible()
    assert page.locator("canvas").count() == 6  # year and weeks have loss beneath


def test_the_percentiles_of_a_pair_have_their_intervals(page: Page) -> None:
    page.goto("/pair/us-east-1/eu-west-1")
    section = page.locator('.graph[data-graph="distribution"]')
    section.scroll_into_view_if_needed()
    rows = section.locator(".trust tr")
    expect(rows).to_have_count(4)
    counts = range(100, 0, -1)
    [p50] = intervals(range(6800, 6900), list(counts), [50])
    at = rows.nth(0).locator("th").all_text_contents().index("p50") + 1
    said = [rows.nth(i).locator("td, th").nth(at).text_content() for i in (1, 2, 3)]
    assert said == [f"{v:.2f}" for v in (p50.value_ms, p50.low_ms, p50.high_ms)]


def test_nothing_moves_while_a_pair_is_scrolled_through(page: Page) -> None:
    answers = threading.Event()

    def late(route: Route) -> None:
        answers.wait(0.2)
        route.continue_()

    page.route(re.compile("/api/v1/"), late)
    page.goto("/pair/us-east-1/eu-west-1")
    page.evaluate("""() => {
        window.moved = 0;
        new PerformanceObserver(list => {
            for (const entry of list.getEntries()) window.moved += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
    }""")
    expect(page.locator('.graph[data-graph="distribution"] .plot')).to_contain_text("Loading")
    for section in page.locator(".graph").all():
        section.scroll_into_view_if_needed()
        expect(section.locator("canvas").first).to_be_visible()
        expect(section.locator(".plot")).not_to_contain_text("Loading")
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    assert page.evaluate("window.moved") < 0.0005  # Lighthouse: 0; a time becomes "3 s ago"


def test_on_a_phone_the_maps_names_are_a_list(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=NARROW, base_url=address)
    page.goto("/map?from=us-east-1")
    expect(page.locator(".world text").first).to_be_hidden()
    expect(page.locator(".nearest li").first).to_contain_text("Ireland")
    page.set_viewport_size(WIDE)
    expect(page.locator(".world text", has_text="Ireland 68")).to_be_visible()
    page.close()


def test_print_and_forced_colours_keep_the_colours(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/")
    cell, chosen = page.locator(".matrix td.s4").first, page.locator(".picker [aria-current]").first
    colour = "node => getComputedStyle(node).backgroundColor"
    shown = cell.evaluate(colour)
    page.emulate_media(media="print")
    assert cell.evaluate("node => getComputedStyle(node).printColorAdjust") == "exact"
    assert page.locator(".scroll").evaluate("n => getComputedStyle(n).overflow") == "visible"
    expect(page.locator(".pickers")).to_be_hidden()
    page.emulate_media(media="screen", forced_colors="active")
    assert cell.evaluate(colour) == shown
    other = page.locator(".picker a:not([aria-current])").first
    assert chosen.evaluate(colour) != other.evaluate(colour)
    page.close()


def test_the_graphs_say_what_is_mixed(page: Page) -> None:
    two = ["kernel-1", "original-1"]

    def mix(route: Route) -> None:
        body = route.fetch().json()
        if "samples" in body:
            body["methods"] = two
        else:
            body["data"][0]["methods"] = body["data"][2]["methods"] = two
        route.fulfill(json=body)

    page.route(re.compile("/(history|distribution)"), mix)
    page.goto("/pair/us-east-1/eu-west-1")
    for name, said in (
        ("day", "2 of 59 points are mixed, measured in several ways (kernel-1, original-1)"),
        ("hour", "2 of 49 points are mixed"),
        ("distribution", "They are mixed, measured in several ways: kernel-1, original-1."),
    ):
        section = page.locator(f'.graph[data-graph="{name}"]')
        section.scroll_into_view_if_needed()
        expect(section.locator(".plot .note")).to_contain_text(said)


def test_figure_timeframe_and_filters_live_in_the_address(page: Page) -> None:
    page.goto("/")
    page.get_by_role("navigation", name="Figure").get_by_text("p99").click()
    page.get_by_role("navigation", name="Timeframe").get_by_text("1 week").click()
    page.get_by_label("From").fill("europe")
    expect(page.locator(".matrix tbody tr")).to_have_count(1)
    page.get_by_label("p99 ≤").fill("100")
    expect(page.locator(".matrix td.ok")).to_have_count(2)
    page.wait_for_url("**/grid/p_99/timeframe/1W?from=europe&within=100")
    page.get_by_role("navigation", name="Timeframe").get_by_text("1 month").click()
    page.wait_for_url("**/grid/p_99/timeframe/1M?from=europe&within=100")
    expect(page.locator(".matrix td.ok")).to_have_count(2)


def answered(page: Page, change: Callable[[Route], None]) -> None:
    """Lets `change` answer for the site what the page asks for from now on."""
    page.route("**/*", lambda r: change(r) if r.request.resource_type == "fetch" else r.continue_())


def renew(page: Page) -> None:
    with page.expect_event("requestfinished", lambda r: r.resource_type == "fetch"):
        page.clock.fast_forward(31_000)


def test_a_renewal_keeps_place_focus_and_typed_text(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 500}, base_url=address)
    page.clock.install()
    page.goto("/?group=none&order=code")
    page.evaluate("document.querySelector('.scroll').style.height = '160px'")
    page.focus("a[href='/pair/us-east-1/us-east-1']")
    page.evaluate("document.querySelector('.scroll').scrollTo(0, 30)")
    page.get_by_label("To", exact=True).evaluate("field => { field.value = 'tok' }")
    before = page.evaluate("[document.querySelector('.scroll').scrollTop, scrollY]")
    same = page.evaluate_handle("document.activeElement")

    def newer(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(">1.2<", ">1.4<"))

    answered(page, newer)
    renew(page)
    expect(page.locator("a[href='/pair/us-east-1/us-east-1']")).to_have_text("1.4")
    assert page.evaluate("[document.querySelector('.scroll').scrollTop, scrollY]") == before
    assert before[0] > 0
    assert page.evaluate("same => document.activeElement === same", same)
    assert page.get_by_label("To", exact=True).input_value() == "tok"
    page.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [(429, "too many requests"), (503, "busy or starting"), (None, "cannot be reached")],
)
def test_what_is_refused_keeps_the_last_matrix_and_says_so(
    browser: Browser, address: str, status: int | None, said: str
) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.clock.install()
    page.goto("/")
    answered(page, lambda r: r.abort() if status is None else r.fulfill(status=status, body="no"))
    page.get_by_label("From").fill("europe")
    page.clock.run_for(300)
    notice = page.locator(".notice")
    expect(notice).to_contain_text(said)
    expect(notice).to_contain_text("What you see was loaded at")
    expect(page.locator(".matrix tbody tr")).to_have_count(3)
    page.unroute_all()
    page.clock.fast_forward(31_000)
    expect(notice).to_be_hidden()
    assert thrown == []
    page.close()


def test_the_threshold_is_checked_where_it_stands(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/")
    field = page.get_by_label("p50 ≤")
    field.fill("fast")
    expect(page.locator(".wrong")).to_have_text("A number of ms, e.g. 80.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".matrix tbody tr")).to_have_count(3)
    for given in ("100,5", "100.5 ms"):
        field.fill(given)
        expect(page.locator(".facts")).to_contain_text("at most 100.5 ms")
        page.wait_for_url("**/grid/p_50/timeframe/1D?within=100.5")
        expect(page.locator(".wrong")).to_be_hidden()
    page.close()


@pytest.mark.parametrize(
    "path",
    ["/", "/map", "/status", "/region/eu-west-1", "/pair/us-east-1/eu-west-1"],
)
def test_every_page_of_figures_renews_itself_past_the_browsers_cache(
    browser: Browser, app: Flask, address: str, path: str
) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.clock.install()
    page.goto(path)
    keeper = site_of(app).keeper
    before = keeper.snapshot
    later = this_minute() + timedelta(minutes=1)
    keeper.snapshot = replace(before, number=before.number + 1, taken_at=later)
    page.clock.fast_forward(31_000)
    expect(page.locator(".age time")).to_have_attribute("datetime", to_iso(later))
    keeper.snapshot = replace(before, number=before.number + 2)
    page.close()


def test_a_matrix_of_one_pair_is_no_wider_than_it_needs(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/?from=eu-west-1&to=us-east-1")
    box = page.locator(".matrix").bounding_box()
    assert box is not None
    assert box["width"] < 400
    page.goto("/?group=none")
    feet = page.locator(".matrix thead th a").evaluate_all(
        """links => links.map(link => {
            const range = document.createRange();
            range.selectNodeContents(link.firstElementChild);
            return Math.round(range.getBoundingClientRect().bottom);
        })"""
    )
    assert len(feet) == 4
    assert len(set(feet)) == 1
    page.close()


def test_a_picker_answers_in_place_and_back_leads_back(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/?within=90")
    page.evaluate("window.mark = 1")
    page.get_by_role("navigation", name="Figure").get_by_text("p99").click()
    expect(page.locator("h1")).to_contain_text("p99")
    page.wait_for_url("**/grid/p_99/timeframe/1D?within=90")
    expect(page.get_by_label("p99 ≤")).to_have_value("90")
    page.go_back()
    expect(page.locator("h1")).to_contain_text("p50")
    assert page.evaluate("window.mark") == 1
    page.close()


def test_a_cell_tells_what_stands_behind_it(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/")
    page.hover("a[href='/pair/us-east-1/eu-west-1']")
    tip = page.locator(".tip")
    for said in ("N. Virginia → Ireland", "68.50 ms", "n 1,438", "coverage", "loss 0.14 %", "last"):
        expect(tip).to_contain_text(said)
    expect(page.locator("thead th.x")).to_contain_text("Ireland")
    expect(page.locator("tbody th.x")).to_contain_text("N. Virginia")
    page.close()


def test_the_matrix_is_one_tab_stop_with_arrow_keys(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=WIDE, base_url=address)
    page.goto("/grid/p_50/timeframe/1D?group=none&order=code")
    page.focus(".matrix tbody td a >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert (
        page.evaluate("document.activeElement.getAttribute('href')") == "/pair/eu-west-1/cn-north-1"
    )
    expect(page.locator(".tip")).to_contain_text("no answer: 1438 timeout")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pair/eu-west-1/cn-north-1")
    page.close()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1440", "390"])
def test_matrix_pair_and_status_work_without_javascript(
    browser: Browser, address: str, viewport: Any
) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=viewport, base_url=address)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("From").fill("europe")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".matrix tbody tr")).to_have_count(1)
    page.goto("/pair/us-east-1/eu-west-1")
    expect(page.locator("main")).to_contain_text("68.99")
    page.goto("/status")
    expect(page.locator("tbody tr")).to_have_count(3)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1440", "390"])
def test_axe_finds_nothing_serious(
    browser: Browser, address: str, scheme: Any, viewport: Any
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport=viewport, base_url=address)
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        for section in page.locator(".graph").all():
            section.scroll_into_view_if_needed()
            expect(section.locator("canvas").first).to_be_visible()
        found = Axe().run(page).response["violations"]
        serious = [
            (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
    context.close()


def test_the_first_load_is_small(browser: Browser) -> None:
    """The matrix of 34 sources and 39 targets, with all that it loads: at most 45 KB."""
    app = create_app(load({}), client=object(), background=False)
    good = installation()
    cell = good.cells["1D"]["us-east-1", "eu-west-1"]
    now = this_minute()
    sources = [code for code, region in CATALOGUE.items() if region.partition == "aws"]
    cells = {
        (a, b): type(cell)(cell.timeframe, a, b,
                           figures(1.37 * (7 * i + 13 * k) % 290, 1000 + 31 * (i * k % 29), now),
                           cell.window_start, cell.window_end, cell.updated_at, "aws")
        for i, a in enumerate(sources) for k, b in enumerate(CATALOGUE)
    }  # fmt: skip
    states = tuple(RegionState(r, c in sources, True, 300) for c, r in CATALOGUE.items())
    site_of(app).keeper.snapshot = type(good)(1, now, states, {"1D": cells}, {}, {})
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = browser.new_page(viewport=WIDE)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="networkidle")
    expect(page.locator(".matrix tbody td")).to_have_count(34 * 39)
    page.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert 10_000 < sum(sizes) <= 45_000
