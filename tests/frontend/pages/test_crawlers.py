import re

from flask.testing import FlaskClient

from cloudping.settings import load
from frontend import create_app
from frontend.pages import NAVIGATION
from tests.frontend.conftest import installation, site_of


def test_robots_keep_to_pages_with_one_address(web: FlaskClient) -> None:
    answer = web.get("/robots.txt")
    assert answer.mimetype == "text/plain"
    assert "Disallow: /api/" in answer.text
    assert "Sitemap" not in answer.text


def test_the_site_map_leads_to_every_page_region_and_pair() -> None:
    url = "https://ping.example"
    app = create_app(load({"FRONTEND_URL": url}), client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    web = app.test_client()
    there = {"base_url": url}
    assert f"Sitemap: {url}/sitemap.xml" in web.get("/robots.txt", **there).text
    answer = web.get("/sitemap.xml", **there)
    assert answer.mimetype == "application/xml"
    found = re.findall("<loc>([^<]+)</loc>", answer.text)
    assert len(found) == len(NAVIGATION) + 4 + 12
    for address in found:
        assert address.startswith(url)
        assert web.get(address.removeprefix(url), **there).status_code == 200, address


def test_without_an_address_there_is_no_site_map(web: FlaskClient) -> None:
    answer = web.get("/sitemap.xml")
    assert answer.status_code == 404
    assert "needs FRONTEND_URL" in answer.text


def test_the_icon_that_browsers_ask_for(web: FlaskClient) -> None:
    answer = web.get("/favicon.ico", follow_redirects=True)
    assert answer.mimetype == "image/svg+xml"


def test_a_page_that_is_not_there_has_links_to_those_that_are(web: FlaskClient) -> None:
    page = web.get("/nowhere").text.split("<main")[1]
    for path in ("/", "/map", "/status", "/region/eu-west-1"):
        assert f'href="{path}"' in page


def test_a_shared_link_says_what_it_shows(web: FlaskClient) -> None:
    page = web.get("/pair/us-east-1/eu-west-1").text
    assert '<meta property="og:title" content="N. Virginia → Ireland · CloudPing">' in page
    assert '<meta property="og:description" content="Round-trip times' in page
