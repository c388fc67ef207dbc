"""Liveness (`/healthz`: the process answers) and readiness (`/readyz`: it has data to show)."""

from flask import Blueprint, Response, jsonify

from cloudping.times import to_iso
from frontend.data.site import snapshot

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    return _fresh(jsonify(status="ok"))


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """503 until the tables have been read once; later failures to read do not take it out."""
    current = snapshot()
    body = {
        "status": "ready" if current.taken_at else "starting",
        "snapshot": to_iso(current.taken_at) if current.taken_at else None,
        "missing": current.missing,
        "failure": current.failure.message if current.failure else None,
    }
    return _fresh(jsonify(body)), 200 if current.taken_at else 503


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
