"""Errors as an answer: one JSON shape under `/api`, a page elsewhere, never a trace.

Each has an id, under which the log has what happened: the caller's own faults at level INFO.
"""

import logging
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound
from werkzeug.http import HTTP_STATUS_CODES

from cloudping.errors import StoreError, UnknownRegionError
from frontend.data.store import BusyError
from frontend.serving.refusals import new_id, shape

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.before_request(_utf8)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(UnknownRegionError, _unknown_region)
    app.register_error_handler(StoreError, _store)
    app.register_error_handler(BusyError, _busy)
    app.register_error_handler(Exception, _unexpected)


def _utf8() -> None:
    """400 for a query of other bytes, which werkzeug finds out only when it is first looked at."""
    try:
        request.query_string.decode()
    except UnicodeDecodeError:
        abort(400, "The part of the address after the question mark is not UTF-8.")


def problem(
    code: int,
    message: str,
    errors: Any = None,
    suggestions: tuple[str, ...] = (),
    cause: Exception | None = None,
) -> Response:
    """The one shape of an error: {"code", "status", "message", "id", "errors"?, "suggestions"?}.

    `cause` is for the log only.
    """
    number = new_id()
    log.log(
        logging.WARNING if code >= 500 else logging.INFO,
        "error %s: %d %s %r: %s", number, code, request.method, request.path, cause or message,
        exc_info=cause if code == 500 else None,
    )  # fmt: skip
    if request.path.startswith("/api") or request.blueprint == "original":
        body = shape(code, message, number)
        if errors:
            body["errors"] = errors
        if suggestions:
            body["suggestions"] = list(suggestions)
        if request.blueprint == "original":
            body |= _as_the_original(code, message)
        response = jsonify(body)
        response.headers["Access-Control-Allow-Origin"] = "*"
    else:
        response = Response(
            render_template(
                "error.html",
                code=code,
                status=HTTP_STATUS_CODES.get(code, "Error"),
                message=message,
                id=number,
                suggestions=suggestions,
            ),
            content_type="text/html; charset=utf-8",
        )
    response.status_code = code
    response.headers["Cache-Control"] = "no-store"
    return response


def _as_the_original(code: int, message: str) -> dict[str, str]:
    """What programs written for the original look for: Chalice's shape, and its own of a 500."""
    name = HTTP_STATUS_CODES.get(code, "Error").replace(" ", "")
    return {"Code": f"{name}Error", "Message": message, "error": message}


def _http(error: HTTPException) -> Response:
    if error.response is not None:
        return error.response  # type: ignore[return-value]  # what abort() was given
    # webargs puts what it found into `data`: {"messages": {"query": {name: [what is wrong]}}}.
    found = getattr(error, "data", {}).get("messages", {}).get("query", {})
    said = "; ".join(f"{name}: {' '.join(wrong)}" for name, wrong in found.items())
    if error.description == NotFound.description:  # no route has it; else the page said what is not
        said = f"There is nothing at {request.path}; /api lists what there is."
    answer = problem(
        error.code or 500,
        said or error.description or "",
        errors=found,
        suggestions=tuple(getattr(error, "suggestions", ())),
    )
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            answer.headers[name] = value
    return answer


def _unknown_region(error: UnknownRegionError) -> Response:
    return problem(404, str(error), suggestions=error.suggestions)


def _store(error: StoreError) -> Response:
    answer = problem(
        503, "The data store does not answer; please try again in a few seconds.", cause=error
    )
    answer.headers["Retry-After"] = "5"
    return answer


def _busy(error: BusyError) -> Response:
    answer = problem(503, f"{error}; please try again in {error.after_s} s.")
    answer.headers["Retry-After"] = str(error.after_s)
    return answer


def _unexpected(error: Exception) -> Response:
    return problem(500, InternalServerError.description, cause=error)
