"""The addresses for programs: `/api/v1`, the original's `/api/…`, `/metrics`, health checks."""

from typing import Any, cast

from flask import Flask

from frontend.api import health, metrics, original, v1
from frontend.api.openapi import api


def init_app(app: Flask) -> None:
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config.update(API_TITLE="CloudPing", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    api.init_app(app)
    api.register_blueprint(v1.blueprint)
    for part in (health, metrics, original):
        app.register_blueprint(part.blueprint)


def document() -> dict[str, Any]:
    """The OpenAPI document of `/api/v1`."""
    return cast(dict[str, Any], api.spec.to_dict())
