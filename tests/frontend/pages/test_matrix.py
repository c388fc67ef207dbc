from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from cloudping.regions import CATALOGUE
from cloudping.runs import ORIGIN_SIMULATED
from frontend.data.snapshot import Snapshot
from tests.frontend.conftest import installation, run, show, this_minute


def test_the_matrix_shows_each_pair_with_n_loss_and_freshness(web: FlaskClient) -> None:
    page = web.get("/").text
    assert 'href="/pair/us-east-1/eu-west-1"' in page
    assert ">68</a>" in page or ">69</a>" in page  # p50 = 68.5
    assert "68.50 ms · n 1,438 · coverage 99.5 % · loss 0.14 %" in page
    assert page.count('href="/pair/') == 12


def test_a_pair_that_lost_everything_is_not_zero_and_says_why(web: FlaskClient) -> None:
    page = web.get("/grid/p_50/timeframe/1D").text
    cell = page.split('href="/pair/eu-west-1/cn-north-1"')[1].split("</a>")[0]
    assert "no answer: 1438 timeout" in cell
    assert cell.endswith(">✕")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/grid/p_99/timeframe/1Y", "68.99 ms"),
        ("/grid/mean/timeframe/1W", "68.50 ms"),
        ("/grid/max/timeframe/1M", "69.00 ms"),
        ("/grid/loss/timeframe/1D", "0.14 %"),
        ("/grid/p_50/timeframe/now", "70.00 ms"),
        ("/?metric=p_10&timeframe=1W", "68.10 ms"),
    ],
)
def test_figure_and_timeframe_are_chosen_by_the_address(
    web: FlaskClient, path: str, shown: str
) -> None:
    page = web.get(path).text
    assert shown in page.split('href="/pair/us-east-1/eu-west-1')[1].split("</a>")[0]


def test_rows_and_columns_are_filtered(web: FlaskClient) -> None:
    page = web.get("/?from=europe&to=us-east-1,tokyo").text
    assert page.count('href="/pair/') == 2
    assert "/pair/eu-west-1/ap-northeast-1" in page


def test_a_threshold_is_marked_by_shape_and_counted(web: FlaskClient) -> None:
    page = web.get("/?within=100").text
    near = page.split('href="/pair/us-east-1/eu-west-1"')[0].rsplit("<td", 1)[1]
    far = page.split('href="/pair/us-east-1/cn-north-1"')[0].rsplit("<td", 1)[1]
    assert " ok" in near
    assert " no" in far


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/grid/p_51/timeframe/1D", 404, "choose one of p_10"),
        ("/grid/p_50/timeframe/2D", 404, "choose one of now, 1D"),
        ("/?within=fast", 400, "a number of ms"),
        ("/?within=-1", 400, "a number of ms"),
        ("/?within=1e3", 400, "a number of ms"),
        ("/?within=2000000", 400, "a number of ms"),
        ("/?order=size", 400, "choose one of name, code, proximity"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    web: FlaskClient, path: str, status: int, said: str
) -> None:
    answer = web.get(path)
    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize("given", ["12.5", "12,5", "12.5 ms", "12,50ms", " 12.5"])
def test_a_threshold_is_taken_as_people_write_it(web: FlaskClient, given: str) -> None:
    answer = web.get("/", query_string={"within": given})
    assert answer.status_code == 200
    assert "at most 12.5 ms" in answer.text
    assert "within=12.5&amp;format=csv" in answer.text  # the API takes a number only


def test_what_no_pair_can_have_is_not_offered_and_not_counted() -> None:
    good = installation()
    few = {pair: replace(c, figures=replace(c.figures, percentiles={50: 70.0}))
           for pair, c in good.cells["now"].items()}  # fmt: skip
    web = show(replace(good, cells={**good.cells, "now": few}))
    page = web.get("/grid/p_50/timeframe/now").text
    assert 'href="/grid/p_25/timeframe/now"' not in page
    assert 'href="/grid/p_25/timeframe/1D"' in web.get("/").text
    assert "11 of 12 pairs with a figure" in web.get("/").text
    # From p25 the way to the last runs leads to what they have.
    assert 'href="/grid/p_50/timeframe/now"' in web.get("/grid/p_25/timeframe/1D").text
    page = web.get("/grid/p_25/timeframe/now").text
    assert "0 of 12 pairs with a figure: too few samples for a p25" in page
    assert 'class="none thin' not in page


def test_near_the_threshold_the_deciding_decimal_is_shown(web: FlaskClient) -> None:
    def cell(within: str) -> str:
        page = web.get(f"/grid/p_99/timeframe/1D?within={within}").text
        return page.split('href="/pair/us-east-1/eu-west-1')[1].split("</a>")[0].split(">")[1]

    assert [cell(w) for w in ("60", "68.9", "68.99", "69", "80")] == [
        "69", "69", "68.99", "69", "69",
    ]  # fmt: skip
    assert cell("68.95") == "69"
    assert cell("68.985") == "69"


def test_a_window_over_the_turn_of_the_year_has_both_years() -> None:
    good = installation()
    start = this_minute().replace(year=this_minute().year - 1)
    year = {pair: replace(cell, window_start=start) for pair, cell in good.cells["1Y"].items()}
    page = show(replace(good, cells={**good.cells, "1Y": year})).get("/grid/p_50/timeframe/1Y").text
    assert f"{start:%d %b %Y %H:%M}</time>" in page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("p_50", "p50 round trip between"),
        ("stddev", "standard deviation of the round trip between"),
        ("loss", ">loss between"),
    ],
)
def test_the_heading_is_a_sentence(web: FlaskClient, name: str, said: str) -> None:
    assert said in web.get(f"/grid/{name}/timeframe/1D").text


def test_links_carry_figure_and_timeframe(web: FlaskClient) -> None:
    page = web.get("/grid/p_90/timeframe/1W").text
    assert 'href="/pair/us-east-1/eu-west-1?metric=p_90&amp;timeframe=1W"' in page
    assert 'href="/region/eu-west-1?metric=p_90&amp;timeframe=1W"' in page
    region = web.get("/region/eu-west-1?metric=p_90&timeframe=1W").text
    assert 'href="/pair/eu-west-1/us-east-1?metric=p_90&amp;timeframe=1W"' in region
    assert 'href="/region/us-east-1?metric=p_90&amp;timeframe=1W"' in region
    pair = web.get("/pair/us-east-1/eu-west-1?metric=p_90&timeframe=1W").text
    assert "<dt>p90, 1 week</dt>" in pair
    assert 'href="/pair/eu-west-1/us-east-1?metric=p_90&amp;timeframe=1W"' in pair
    assert web.get("/pair/us-east-1/eu-west-1?metric=p_51").status_code == 404


def test_downloads_are_named_after_what_they_hold(web: FlaskClient) -> None:
    page = web.get("/grid/p_90/timeframe/1W?from=europe&within=100").text
    assert 'download="cloudping-p_90-1W-from-europe-within-100.csv"' in page
    assert 'download="cloudping-meeting-p_90-1W-from-europe-within-100.csv"' in page
    assert "the pair that meets it, without regions to themselves" in page
    pair = web.get("/pair/us-east-1/eu-west-1").text
    assert 'download="cloudping-us-east-1-eu-west-1-hour.csv"' in pair


def test_simulated_figures_carry_the_banner() -> None:
    for path in ("/", "/map", "/status", "/pair/us-east-1/eu-west-1", "/region/eu-west-1", "/api"):
        assert "Simulated network." in show(installation(ORIGIN_SIMULATED)).get(path).text


def test_real_figures_carry_no_banner(web: FlaskClient) -> None:
    assert "Simulated network." not in web.get("/").text


def test_empty_tables_show_an_honest_empty_matrix() -> None:
    page = show(Snapshot(1, this_minute())).get("/").text
    assert "No data yet." in page
    assert "no region has been put into the catalogue yet" in page


def test_before_the_first_read_the_page_renews_itself_and_is_not_kept() -> None:
    answer = show(Snapshot()).get("/")
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_nothing_from_a_table_reaches_a_page_unescaped() -> None:
    evil = "<script>alert(1)</script>"
    place = replace(CATALOGUE["eu-west-1"], name=f"Europe ({evil})", place=evil, geography=evil,
                    endpoint=evil)  # fmt: skip
    good = installation()
    states = tuple(
        replace(s, region=place) if s.region.code == "eu-west-1" else s for s in good.states
    )
    cells = {
        frame: {
            pair: replace(c, figures=replace(c.figures, failures={evil: 1}, methods=(evil,)))
            for pair, c in found.items()
        }
        for frame, found in good.cells.items()
    }
    runs = {code: replace(run, method=evil) for code, run in good.runs.items()}
    web = show(replace(good, states=states, cells=cells, runs=runs))
    for path in (
        "/",
        "/grid/max/timeframe/now",
        "/region/eu-west-1",
        "/map?from=eu-west-1",
        "/pair/us-east-1/eu-west-1",
        "/status",
        "/region/nowhere",
        f"/?from={evil}",
    ):
        assert evil not in web.get(path).text, path


def test_a_silent_source_is_on_every_page() -> None:
    good = installation()
    old = run("eu-west-1", this_minute() - timedelta(hours=3))
    web = show(replace(good, runs={**good.runs, "eu-west-1": old}))
    for path in ("/", "/map", "/pair/us-east-1/eu-west-1"):
        assert "1 silent source:" in web.get(path).text
    row = web.get("/").text.split('scope="row" class="silent"')[1]
    assert "eu-west-1" in row.split("</th>")[0]


def test_a_cell_without_new_samples_looks_stale() -> None:
    good = installation()
    pair = ("us-east-1", "eu-west-1")
    cell = good.cells["1D"][pair]
    old = replace(
        cell, figures=replace(cell.figures, last_sample=this_minute() - timedelta(days=1))
    )
    web = show(replace(good, cells={**good.cells, "1D": {**good.cells["1D"], pair: old}}))
    assert (
        "stale"
        in web.get("/").text.split('href="/pair/us-east-1/eu-west-1"')[0].rsplit("<td", 1)[1]
    )


def test_every_header_forbids_inline_code_and_other_hosts(web: FlaskClient) -> None:
    answer = web.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
