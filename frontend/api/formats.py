"""Rows as JSON with metadata, as CSV, or as NDJSON."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flask import Response, jsonify, make_response

from cloudping.runs import combined_origin
from frontend.api.rows import iso
from frontend.data.site import snapshot

LICENCE: Final = "CC BY 4.0"
LICENCE_TEXT: Final = (
    "CloudPing's figures are licensed under Creative Commons Attribution 4.0 International\n"
    "(CC BY 4.0): https://creativecommons.org/licenses/by/4.0/\n"
    "Attribution: CloudPing, with the address of the site that you have them from.\n"
)
FORMATS: Final = ("json", "csv", "ndjson")
SHORT_CACHE: Final = "public, max-age=60"


def answer(
    data: list[dict[str, Any]],
    form: str,
    cache: str = "",
    origins: Iterable[str | None] | None = None,
    more: Mapping[str, Any] | None = None,
    **about: Any,
) -> Response:
    """Rows as JSON with metadata, or bare as CSV or NDJSON."""
    if form == "json":
        response = jsonify(metadata={**metadata(origins), **about}, **(more or {}), data=data)
    elif form == "csv":
        response = make_response(_csv(data))
        response.headers["Content-Type"] = "text/csv; charset=utf-8"
    else:
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in data)
        response = make_response(lines)
        response.headers["Content-Type"] = "application/x-ndjson"
    if cache:
        response.headers["Cache-Control"] = cache
    return response


def _csv(data: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in data for name in row))
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for row in data:
        writer.writerow({name: _flat(value) for name, value in row.items()})
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{count}" for name, count in sorted(value.items()))
    return " ".join(value) if isinstance(value, list | tuple) else value


def metadata(origins: Iterable[str | None] | None = None) -> dict[str, Any]:
    """What stands beside every answer; `origins` of its rows, else the snapshot's."""
    current = snapshot()
    return {
        "network": current.origin if origins is None else combined_origin(origins),
        "snapshot": iso(current.taken_at),
        "stale_since": iso(current.failure.since if current.failure else None),
        "licence": LICENCE,
    }
