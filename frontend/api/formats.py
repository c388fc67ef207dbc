"""Rows as JSON with metadata, as CSV, or as NDJSON: a new format is added here."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
SHORT_CACHE: Final = "public, max-age=60"


def answer(
    data: list[dict[str, Any]],
    form: str,
    columns: Sequence[str],
    cache: str = "",
    origins: Iterable[str | None] | None = None,
    more: Mapping[str, Any] | None = None,
    **about: Any,
) -> Response:
    """Rows as JSON with metadata, or bare in another format; `columns` are those of any row."""
    if form == "json":
        response = jsonify(metadata={**metadata(origins), **about}, **(more or {}), data=data)
    else:
        written = BARE[form]
        response = make_response(written.write(data, columns))
        response.headers["Content-Type"] = written.content_type
    if cache:
        response.headers["Cache-Control"] = cache
    return response


def csv_text(data: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A CSV with its header, also of no rows; what is in no column is left out."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", restval="")
    writer.writeheader()
    for row in data:
        writer.writerow({name: cell(value) for name, value in row.items()})
    return out.getvalue()


def cell(value: Any) -> Any:
    """A value in one cell; a text that a spreadsheet would run as a formula stays a text.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    if isinstance(value, Mapping):
        value = " ".join(f"{name}:{count}" for name, count in sorted(value.items()))
    elif isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _ndjson(data: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in data)


@dataclass(frozen=True, slots=True)
class Bare:
    """A format of rows without metadata."""

    content_type: str
    write: Callable[[list[dict[str, Any]], Sequence[str]], str]


BARE: Final[Mapping[str, Bare]] = {
    "csv": Bare("text/csv; charset=utf-8", csv_text),
    "ndjson": Bare("application/x-ndjson", _ndjson),
}
FORMATS: Final = ("json", *BARE)


def metadata(origins: Iterable[str | None] | None = None) -> dict[str, Any]:
    """What stands beside every answer; `origins` of its rows, else the snapshot's."""
    current = snapshot()
    return {
        "network": current.origin if origins is None else combined_origin(origins),
        "snapshot": iso(current.taken_at),
        "stale_since": iso(current.failure.since if current.failure else None),
        "licence": LICENCE,
    }
