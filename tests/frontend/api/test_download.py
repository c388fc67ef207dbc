import io
import zipfile
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cloudping.regions import CATALOGUE, RegionState, RegionTable
from cloudping.summaries import Day, HistoryTable
from cloudping.times import utc_now
from frontend.data.store import DOWNLOADS_AT_ONCE
from tests.frontend.api.conftest import PAIR, rows
from tests.frontend.conftest import figures, site_of, this_minute


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


def test_a_pair_without_a_current_figure_is_in_the_download(
    stored: FlaskClient, dynamodb: Any
) -> None:
    """A probe that was taken away, and a target that is measured no more."""
    gone = RegionState(CATALOGUE["us-west-2"], False, True, 0, latest_data=this_minute())
    old = RegionState(CATALOGUE["sa-east-1"], is_source=False, is_target=False)
    for state in (gone, old):
        RegionTable(dynamodb).put(state)
    day = this_minute().date() - timedelta(days=3)
    pairs = [("us-west-2", "us-east-1"), ("us-east-1", "sa-east-1")]
    HistoryTable(dynamodb).replace(
        Day(source, target, day, figures(40.0, 100, this_minute()), "aws")
        for source, target in pairs
    )
    site_of(stored.application).keeper.refresh()
    archive = zipfile.ZipFile(io.BytesIO(stored.get("/api/v1/daily.zip").data))
    table = rows(archive.read("daily.csv").decode())
    found = {(r["region_from"], r["region_to"]) for r in table}
    assert found == {("us-east-1", "eu-west-1"), *pairs}


def test_a_broken_item_of_a_pair_does_not_cut_the_download_off(
    stored: FlaskClient, dynamodb: Any
) -> None:
    item = {
        "pair": {"S": "us-east-1#us-east-1"},
        "month": {"S": f"{this_minute():%Y-%m}"},
        "days": {"S": "garbage"},
    }
    dynamodb.put_item(TableName="cloudping_history", Item=item)
    archive = zipfile.ZipFile(io.BytesIO(stored.get("/api/v1/daily.zip").data))
    assert len(rows(archive.read("daily.csv").decode())) == 3
    assert archive.read("LEFT_OUT.txt").decode() == (
        "us-east-1 to us-east-1: part of what is stored of it cannot be read\n"
    )


def test_downloads_that_nobody_takes_keep_no_query_waiting(stored: FlaskClient) -> None:
    def ask(client: int) -> TestResponse:
        address = {"REMOTE_ADDR": f"203.0.113.{client}"}
        return stored.get("/api/v1/daily.zip", environ_base=address)

    slow = [ask(k) for k in range(DOWNLOADS_AT_ONCE)]  # not read, so not ended
    refused = ask(99)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert stored.get(f"{PAIR}/history").status_code == 200
    for download in slow:
        download.close()
    assert ask(99).status_code == 200


def test_a_client_has_one_download_at_a_time(stored: FlaskClient) -> None:
    """So one alone cannot hold all the places."""
    slow = stored.get("/api/v1/daily.zip", environ_base={"REMOTE_ADDR": "2001:db8::1"})
    again = stored.get("/api/v1/daily.zip", environ_base={"REMOTE_ADDR": "2001:db8:0:9::2"})
    assert again.status_code == 503
    assert "You have a download under way" in str(again.json)
    assert stored.get("/api/v1/daily.zip").status_code == 200
    slow.close()


def test_a_download_stops_and_gives_its_place_back_when_the_client_leaves(
    stored: FlaskClient,
) -> None:
    for _ in range(DOWNLOADS_AT_ONCE + 1):
        answer = stored.get("/api/v1/daily.zip")
        assert answer.status_code == 200
        answer.close()
