"""The headers of every answer, and the answers that are made before Flask: too many, too long."""

import json
import secrets
from typing import Any, Final

from werkzeug.http import HTTP_STATUS_CODES

# No inline code, nothing from another host: a page can load what this server serves, no more.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # for <img> and the like; CORS is not affected
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Strict-Transport-Security": "max-age=63072000",  # ignored over plain HTTP
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def new_id() -> str:
    """What connects an answer with its line in the log."""
    return secrets.token_hex(6)


def refusal(
    path: str, code: int, message: str, retry_after_s: int = 0
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an error that is answered before Flask, not logged, cheap to make.

    Under `/api` the one shape of every error, plain text elsewhere.
    """
    if path.startswith("/api"):
        kind, text = "application/json", json.dumps(shape(code, message, new_id()))
    else:
        kind, text = "text/plain; charset=utf-8", f"{message}\n"
    body = text.encode()
    headers = {
        **HEADERS,
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Access-Control-Allow-Origin": "*",
    }
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    return headers, body


def shape(code: int, message: str, number: str) -> dict[str, Any]:
    """What every error under `/api` has; an answer of the application may add to it."""
    status = HTTP_STATUS_CODES.get(code, "Error")
    return {"code": code, "status": status, "message": message, "id": number}
