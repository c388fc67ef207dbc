import io
import zipfile
from datetime import timedelta

from flask.testing import FlaskClient

from cloudping.times import utc_now
from tests.frontend.api.conftest import PAIR, rows
from tests.frontend.conftest import this_minute


def test_bulk_download_holds_every_pair_and_the_licence(stored: FlaskClient) -> None:
    answer = stored.get("/api/v1/daily.zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert "CC BY 4.0" in archive.read("LICENCE.txt").decode()
    assert archive.getinfo("daily.csv").date_time[0] == utc_now().year
    table = rows(archive.read("daily.csv").decode())
    assert [(r["date"], r["region_to"], r["p_50"]) for r in table] == [
        (str(this_minute().date() - timedelta(days=k)), "eu-west-1", f"{68.5 + k}")
        for k in (2, 1, 0)
    ]


def test_downloads_that_nobody_takes_keep_no_query_waiting(stored: FlaskClient) -> None:
    slow = [stored.get("/api/v1/daily.zip") for _ in range(2)]  # not read, so not ended
    assert stored.get("/api/v1/daily.zip").status_code == 503
    assert stored.get(f"{PAIR}/history").status_code == 200
    for download in slow:
        download.close()
    assert stored.get("/api/v1/daily.zip").status_code == 200
