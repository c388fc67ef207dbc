"""The API against its own OpenAPI document: what schemathesis can think of, over tables in moto."""

from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from cloudping.buckets import Bucket, DistributionTable
from cloudping.changes import ChangeTable, State
from cloudping.distribution import from_attempts
from cloudping.periods import HOUR, floor
from cloudping.runs import METHOD_KERNEL
from cloudping.settings import load
from cloudping.summaries import Day, HistoryTable
from frontend import create_app
from tests.frontend.conftest import (
    BASE_MS,
    SOURCES,
    TARGETS,
    a_change,
    figures,
    fill,
    site_of,
    this_minute,
)

PATHS = (
    "/regions",
    "/matrix",
    "/status",
    "/changes",
    "/plan",
    "/export",
    "/daily.zip",
    "/openapi.json",
    "/pairs/{source}/{target}",
    "/pairs/{source}/{target}/history",
    "/pairs/{source}/{target}/samples",
    "/pairs/{source}/{target}/distribution",
    "/pairs/{source}/{target}/relays",
)
ATTACKS = [
    *((path, GenerationMode.POSITIVE) for path in PATHS),
    # What has no parameter with rules has none to break.
    *((path, GenerationMode.NEGATIVE) for path in PATHS if not path.endswith((".json", "target}"))),
]


@pytest.fixture
def unlimited(dynamodb: Any) -> Flask:
    """The site over a filled installation, without a limit of requests."""
    fill(dynamodb)
    now = this_minute()
    HistoryTable(dynamodb).replace(
        Day(a, b, now.date() - timedelta(days=k), figures(base, 100, now), "aws")
        for (a, b), base in BASE_MS.items()
        for k in range(3)
    )
    hour = floor(HOUR, now)
    found = from_attempts(["eu-west-1"], [0, 0, 0], [68.0, 68.0, 70.5], int(hour.timestamp()))
    bucket = Bucket("us-east-1", HOUR, hour, METHOD_KERNEL, "aws", found)
    DistributionTable(dynamodb).write([bucket], now)
    ChangeTable(dynamodb).write([a_change()])
    ChangeTable(dynamodb).put_state(State(now.date(), now))
    app = create_app(load({"FRONTEND_REQUESTS_PER_MINUTE": "0"}), dynamodb, background=False)
    site_of(app).keeper.refresh()
    return app


def test_every_path_is_tried(unlimited: Flask) -> None:
    document = unlimited.test_client().get("/api/v1/openapi.json").json
    assert document is not None
    assert set(document["paths"]) == {f"/api/v1{path}" for path in PATHS}


def attack(app: Flask, path: str, mode: GenerationMode, examples: int) -> None:
    """Asks `examples` times what the document allows, or forbids, and checks the answers."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    operation = schema[f"/api/v1{path}"]["GET"]
    # How far apart start and end may be cannot be said in OpenAPI; an unknown region is 404, which
    # counts as accepted, and as rejected.
    # Nor which regions there are, nor which rules a number of replicas can keep.
    ranged = "start" in operation.query or path in ("/plan", "/export")
    excluded: list[Any] = [positive_data_acceptance] if ranged else []
    if mode is GenerationMode.POSITIVE:
        excluded.append(negative_data_rejection)
    known = st.fixed_dictionaries(
        {"source": st.sampled_from(SOURCES), "target": st.sampled_from(TARGETS)}
    )

    # No shrinking: a case that fails is small enough to read, and a test must end.
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 100,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), pair=known, aimed=st.booleans())
    def ask(case: Case[Any], pair: dict[str, str], aimed: bool) -> None:
        if aimed and case.path_parameters:
            case.path_parameters.update(pair)
        # schemathesis asks a WSGI application for gzip and does not unpack it.
        answer = case.call_and_validate(
            headers={"Accept-Encoding": "identity"}, excluded_checks=excluded
        )
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert set(answer.json()) >= {"code", "status", "message", "id"}
            assert "Traceback" not in answer.text

    ask()


@pytest.mark.parametrize(("path", "mode"), ATTACKS)
def test_the_api_keeps_to_its_document(unlimited: Flask, path: str, mode: GenerationMode) -> None:
    attack(unlimited, path, mode, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "mode"), ATTACKS)
def test_the_api_keeps_to_its_document_for_long(
    unlimited: Flask, path: str, mode: GenerationMode
) -> None:
    attack(unlimited, path, mode, 400)
