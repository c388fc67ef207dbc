import csv
import io
from dataclasses import replace

import marshmallow as ma
import pytest
from flask.testing import FlaskClient

from frontend.api import rows, schemas
from tests.frontend.conftest import installation, show

PAIR = "/api/v1/pairs/us-east-1/eu-north-1"


@pytest.mark.parametrize(
    ("columns", "schema"),
    [
        ((*rows.CELL, "value", "meets"), schemas.CellSchema),
        (rows.POINT, schemas.PointSchema),
        (rows.REGION, schemas.RegionSchema),
        (rows.SAMPLE, schemas.SampleSchema),
        (rows.BIN, schemas.BinSchema),
        (rows.SOURCE, schemas.SourceSchema),
    ],
)
def test_the_columns_are_the_fields_of_the_document(
    columns: tuple[str, ...], schema: type[ma.Schema]
) -> None:
    assert sorted(columns) == sorted(schema().fields)


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("/api/v1/matrix?from=nowhere&format=csv", (*rows.CELL, "value", "meets")),
        (f"{PAIR}/distribution?format=csv", rows.BIN),
    ],
)
def test_a_csv_of_no_rows_has_its_header(
    web: FlaskClient, path: str, columns: tuple[str, ...]
) -> None:
    [header] = csv.reader(io.StringIO(web.get(path).text))
    assert header == list(columns)


@pytest.mark.parametrize("evil", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1"])
def test_a_spreadsheet_takes_a_name_for_text(evil: str) -> None:
    good = installation()
    states = tuple(replace(s, region=replace(s.region, name=evil)) for s in good.states)
    text = show(replace(good, states=states)).get("/api/v1/regions?format=csv").text
    assert {row["name"] for row in csv.DictReader(io.StringIO(text))} == {f"'{evil}"}


def test_one_packet_of_a_year_is_not_nothing(web: FlaskClient) -> None:
    good = installation()
    cells = {
        pair: replace(c, figures=replace(c.figures, loss_pct=100 / 525_600))
        for pair, c in good.cells["1Y"].items()
    }
    body = (
        show(replace(good, cells={"1Y": cells})).get("/api/v1/matrix?timeframe=1Y&metric=loss").json
    )
    assert body is not None
    assert {row["value"] for row in body["data"]} == {0.00019}
