"""Headers by the HTTP Observatory's rules, and what a client can put into addresses and headers."""

import logging
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from cloudping.settings import load
from frontend import create_app
from frontend.serving.refusals import HEADERS
from tests.frontend.conftest import installation, site_of

PAGES = (
    "/",
    "/grid/p_99/timeframe/1W",
    "/map",
    "/plan",
    "/status",
    "/method",
    "/api",
    "/region/us-east-1",
    "/pair/us-east-1/eu-west-1",
    "/nothing",
    "/api/v1/matrix",
    "/api/v1/nothing",
    "/api/latencies",
    "/metrics",
    "/healthz",
    "/readyz",
    "/static/site.css",
)
BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
UNSAFE = BROAD | {"'unsafe-inline'", "data:"}
SIX_MONTHS_S = 15_768_000


@pytest.fixture(scope="module")
def site() -> FlaskClient:
    """A site without a limit of requests, as deployed: errors are answered, not raised."""
    app = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "0"}), client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    return app.test_client()


def policy(response: TestResponse) -> dict[str, set[str]]:
    [header] = response.headers.getlist("Content-Security-Policy")
    directives = [part.split() for part in header.split(";")]
    found = {name: set(sources) for name, *sources in directives}
    assert len(found) == len(directives), "a directive twice"
    return found


def grade(response: TestResponse) -> int:
    """The score by the rules of MDN's HTTP Observatory (github.com/mdn/mdn-http-observatory,
    src/grader/charts.js and src/analyzer/tests), as far as an answer over HTTPS decides it: the
    redirection is the load balancer's, and preloading needs a domain. 100 and more is an A+.
    """
    headers, csp = response.headers, policy(response)
    default = csp.get("default-src", {"*"})
    script, style, objects = (
        csp.get(f"{kind}-src", default) for kind in ("script", "style", "object")
    )
    sources = set().union(*csp.values())
    frames = csp.get("frame-ancestors", {"*"})
    modifiers = {
        "script or object": -20 if script & UNSAFE or objects & BROAD else 0,
        "insecure scheme": -20 if any(s.startswith(("http:", "ftp:")) for s in sources) else 0,
        "eval": -10 if "'unsafe-eval'" in script | style else 0,
    }
    if not any(modifiers.values()) and not style & UNSAFE:
        modifiers["policy"] = 10 if default == {"'none'"} else 5
    age = re.search(r"max-age=(\d+)", headers.get("Strict-Transport-Security", ""))
    modifiers["HSTS"] = -20 if age is None else -10 if int(age[1]) < SIX_MONTHS_S else 0
    modifiers["sniffing"] = 0 if headers.get("X-Content-Type-Options") == "nosniff" else -5
    modifiers["framing"] = -20 if frames & BROAD else 5
    private = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
    modifiers["referrer"] = 5 if headers.get("Referrer-Policy") in private else 0
    resource = headers.get("Cross-Origin-Resource-Policy")
    modifiers["resources"] = 10 if resource in ("same-origin", "same-site") else 0
    embedder = headers.get("Cross-Origin-Embedder-Policy")
    modifiers["embedder"] = 10 if embedder in ("require-corp", "credentialless") else 0
    modifiers["CORS"] = -50 if "Access-Control-Allow-Credentials" in headers else 0
    modifiers["cookies"] = -20 if "Set-Cookie" in headers else 0  # there is none to need
    for tag in re.findall(
        r"<script[^>]*>", response.text if response.mimetype == "text/html" else ""
    ):
        if not re.search(r'src="/(?!/)', tag):
            modifiers["integrity"] = -50
    lost = sum(m for m in modifiers.values() if m < 0)
    return 100 + (sum(modifiers.values()) if lost >= -10 else lost)


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_is_graded_a_plus(site: FlaskClient, path: str) -> None:
    assert grade(site.get(path)) == 140


def test_https_is_asked_for_of_this_host_alone(site: FlaskClient) -> None:
    """What else the operator has below the domain is the operator's to decide."""
    assert site.get("/").headers["Strict-Transport-Security"] == "max-age=63072000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Security-Policy", "default-src 'self'; script-src 'self' 'unsafe-inline'"),
        ("Content-Security-Policy", "default-src *"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("Strict-Transport-Security", "max-age=3600"),
        ("X-Content-Type-Options", "sniff"),
        ("Referrer-Policy", "unsafe-url"),
        ("Cross-Origin-Resource-Policy", "cross-origin"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Set-Cookie", "session=1"),
    ],
)
def test_the_grade_falls_with_each_header(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setitem(HEADERS, name, value)
    app = create_app(load({}), client=object(), background=False)
    assert grade(app.test_client().get("/")) < 140


def test_what_was_refused_over_the_limit_has_the_headers_too() -> None:
    app = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "1"}), client=object(), background=False)
    web = app.test_client()
    web.get("/")
    refused = web.get("/")
    assert (refused.status_code, grade(refused)) == (429, 140)


def test_no_address_takes_anything_but_reading(site: FlaskClient) -> None:
    for rule in site.application.url_map.iter_rules():
        assert rule.methods is not None
        assert rule.methods <= {"GET", "HEAD", "OPTIONS"}, rule
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE"):
        assert site.open("/api/v1/matrix", method=method).status_code == 405


def test_an_unexpected_error_tells_its_id_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("table secret-PingTest, at /app/frontend/store.py")

    monkeypatch.setattr("frontend.api.v1.region_row", fails)
    monkeypatch.setattr("frontend.pages.matrix.matrix.build", fails)
    app = create_app(load({}), client=object(), background=False)
    site_of(app).keeper.snapshot = installation()
    web = app.test_client()
    with caplog.at_level(logging.INFO):
        answer, page = web.get("/api/v1/regions"), web.get("/")
    assert (answer.status_code, page.status_code) == (500, 500)
    for text in (answer.text, page.text):
        assert not re.search(r"secret|PingTest|Traceback|RuntimeError|frontend|\.py", text)
    assert answer.json is not None
    assert f"error {answer.json['id']}: 500 GET '/api/v1/regions'" in caplog.text
    assert re.search(r"Error <code>([0-9a-f]{12})</code>", page.text)
    assert "secret-PingTest" in caplog.text  # the log has what happened


def check(answer: TestResponse) -> None:
    """An answer to any request: no failure of ours, nothing reflected as markup, all headers."""
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    if answer.mimetype == "text/html":
        assert "<script>alert" not in answer.text
    else:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert grade(answer) == 140


fuzz = settings(max_examples=60, deadline=None, derandomize=True)
words = st.text(max_size=40) | st.sampled_from(
    ["p_50", "1D", "now", "us-east-1", "nan", "inf", "-0", "1e309", "<script>alert(1)</script>",
     "../../etc/passwd", "%00", "'", "x" * 3000]
)  # fmt: skip


@fuzz
@given(path=st.lists(words, max_size=5), slash=st.sampled_from(["/", "//", "/./", "/%2e%2e/"]))
@example(path=["", "evil.example", ""], slash="/")
def test_any_path(site: FlaskClient, path: list[str], slash: str) -> None:
    # The path as the server hands it on; the test client would take "//a" for a host.
    asked = ("/" + slash.join(path)).encode(errors="surrogatepass").decode("latin-1")
    answer = site.get("/", environ_overrides={"PATH_INFO": asked})
    check(answer)
    assert urlsplit(answer.headers.get("Location", "/")).netloc in ("", "localhost")


@fuzz
@given(
    path=st.sampled_from([
        "/", "/map", "/status", "/region/us-east-1", "/pair/us-east-1/eu-west-1", "/method", "/api",
        "/grid/p_99/timeframe/1W", "/api/v1/matrix", "/api/latencies", "/api/regions", "/metrics",
        "/static/site.css",
    ]),
    query=st.dictionaries(
        st.sampled_from(["metric", "timeframe", "from", "to", "order", "group", "within",
                         "percentile", "v", "format"]) | words,
        words, max_size=5,
    ),
)  # fmt: skip
def test_any_query(site: FlaskClient, path: str, query: dict[str, str]) -> None:
    check(site.get(path, query_string=query))


@fuzz
@given(raw=st.binary(max_size=60))
def test_any_bytes_in_a_query(site: FlaskClient, raw: bytes) -> None:
    environ = {"QUERY_STRING": raw.decode("latin-1")}
    for path in ("/", "/api/v1/matrix", "/api/latencies"):
        check(site.get(path, environ_overrides=environ))


@fuzz
@given(
    headers=st.dictionaries(
        st.sampled_from(["Host", "If-None-Match", "Accept-Encoding", "Accept", "Range", "Cookie",
                         "If-Modified-Since", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded",
                         "X-Forwarded-Proto", "Content-Type", "Authorization", "Origin"]),
        # What gunicorn lets through: no control characters.
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"),
                max_size=60),
    ),
    path=st.sampled_from(["/", "/api/v1/matrix", "/static/site.css", "/nothing"]),
)  # fmt: skip
def test_any_header(site: FlaskClient, headers: dict[str, str], path: str) -> None:
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    check(site.get(path, environ_overrides=environ))
