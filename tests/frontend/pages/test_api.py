from flask.testing import FlaskClient

from frontend.api.openapi import api


def test_the_reading_page_shows_every_operation(web: FlaskClient) -> None:
    page = web.get("/api").text
    for path in api.spec.to_dict()["paths"]:
        assert f"GET {path}" in page
