import pytest
from flask.testing import FlaskClient

from cloudping.settings import load
from frontend import create_app
from tests.frontend.conftest import installation, site_of

URL = "https://ping.example"


def site(url: str = URL) -> FlaskClient:
    app = create_app(load({"FRONTEND_URL": url}), client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    return app.test_client()


def test_only_the_sites_own_host_is_answered() -> None:
    web = site()
    assert web.get("/", headers={"Host": "ping.example"}).status_code == 200
    for host in ("evil.example", "ping.example.evil.example", "ping.example:81", ""):
        answer = web.get("/api/v1/regions", headers={"Host": host})
        assert answer.status_code == 421, host
        assert answer.json is not None
        assert answer.json["message"] == "This site is ping.example."
    for path in ("/healthz", "/readyz"):  # the load balancer asks by address
        assert web.get(path, headers={"Host": "10.0.0.7:8080"}).status_code == 200


@pytest.mark.parametrize("path", ["/api", "/", "/map", "/pair/us-east-1/eu-west-1", "/nothing"])
def test_what_a_client_says_of_the_host_reaches_no_other_visitor(path: str) -> None:
    """With no address set every host is answered, and the answer is kept for all."""
    web = site("")
    evil = {
        "HTTP_HOST": "evil.example",
        "wsgi.url_scheme": "https",
        "SCRIPT_NAME": "/evil",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_X_FORWARDED_PREFIX": "/evil",
    }
    first = web.get(path, environ_overrides=evil)
    assert "evil" not in first.text
    assert "evil" not in str(first.headers)
    assert "evil" not in web.get(path).text


def test_a_redirect_stays_on_the_host() -> None:
    path = "//pair//us-east-1/eu-west-1"
    answer = site("").get("/", environ_overrides={"PATH_INFO": path, "HTTP_HOST": "evil.example"})
    assert answer.status_code == 308
    assert answer.headers["Location"] == "/pair/us-east-1/eu-west-1"


def test_examples_have_the_sites_address() -> None:
    page = site().get("/api", headers={"Host": "ping.example"}).text
    assert f"{URL}</span>/api/v1/regions" in page


@pytest.mark.parametrize(
    "url", ["ping.example", "ftp://ping.example", "https://ping.example/path", "https://u@x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Exception, match="FRONTEND_URL"):
        load({"FRONTEND_URL": url})
