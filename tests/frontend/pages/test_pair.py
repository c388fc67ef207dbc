from flask.testing import FlaskClient


def test_pair_page_has_its_figures_without_javascript(web: FlaskClient) -> None:
    page = web.get("/pair/us-east-1/eu-west-1").text
    assert "68.99" in page  # p99
    assert "69.50" in page  # p50 back
    assert "-1.00" in page  # there less back
    assert 'href="/api/v1/pairs/us-east-1/eu-west-1/samples?format=csv"' in page
