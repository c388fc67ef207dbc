"""The addresses for people: a module and a template a page, what they share, and errors."""

from collections.abc import Callable
from typing import Any, Final

from flask import Flask

from frontend.pages import (
    api,
    changes,
    crawlers,
    errors,
    matrix,
    method,
    original,
    pair,
    plan,
    region,
    shared,
    status,
)

# What the head of every page leads to.
NAVIGATION: Final = (
    ("/", "Matrix"),
    ("/map", "Map"),
    ("/plan", "Plan"),
    ("/changes", "Changes"),
    ("/status", "Status"),
    ("/method", "Method"),
    ("/api", "API"),
)


def init_app(app: Flask, document: Callable[[], dict[str, Any]]) -> None:
    """Registers every page; `document` gives the OpenAPI document that one of them shows."""
    shared.init_app(app, NAVIGATION)
    errors.init_app(app)
    for page in (changes, matrix, method, original, pair, plan, region, status):
        app.register_blueprint(page.blueprint)
    app.register_blueprint(api.blueprint(document))
    app.register_blueprint(crawlers.blueprint(NAVIGATION))
