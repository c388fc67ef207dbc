import pytest
from flask.testing import FlaskClient


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/grid", "/"),
        ("/visualization", "/map"),
        ("/region-status", "/status"),
        ("/about", "/method"),
        ("/grid/latency/timeframe/1D", "/grid/mean/timeframe/1D"),
        ("/grid/p_98/timeframe/1y", "/grid/p_98/timeframe/1Y"),
        ("/grid/latency/timeframe/1w?from=europe", "/grid/mean/timeframe/1W?from=europe"),
    ],
)
def test_an_address_of_the_original_leads_to_its_page(
    web: FlaskClient, path: str, there: str
) -> None:
    answer = web.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (301, there)
    assert web.get(there).status_code == 200


def test_what_the_original_did_not_have_either_is_404(web: FlaskClient) -> None:
    for path in ("/grid/latency/timeframe/1x", "/grid/latency/timeframe/%0d%0aX: y", "/grid/p_1d"):
        assert web.get(path).status_code == 404, path
