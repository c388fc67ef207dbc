"""What the monitor answers: its page, `/latency`, `/metrics` and `/health`."""

from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from flask import Blueprint, Response, current_app, jsonify, render_template, request
from prometheus_client.exposition import choose_encoder

from cloudping.runs import METHOD_KERNEL
from cloudping.times import utc_now
from monitor.graph import Graph, draw
from monitor.observations import WindowFigures
from monitor.settings import Watched
from monitor.state import WINDOW_S, Monitor

EXTENSION: Final = "cloudping-monitor"
ENDPOINTS: Final = {
    "/": "this; for a browser a page with the last hour",
    "/latency": "the newest figures of every target, JSON",
    "/metrics": "Prometheus",
    "/health": "503 when a target's last success is too old",
    "/health/live": "503 when the monitor itself no longer measures",
}

blueprint = Blueprint("monitor", __name__)


def monitor() -> Monitor:
    return cast(Monitor, current_app.extensions[EXTENSION])


@blueprint.after_request
def _headers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the page shows of one target."""

    key: str
    is_fresh: bool
    latest_ms: float | None
    reason: str | None
    address: str | None
    error: str | None
    figures: WindowFigures
    missed: int
    graph: Graph


@blueprint.get("/")
def index() -> Response | str:
    wanted = request.accept_mimetypes.best_match(["application/json", "text/html"])
    current = monitor()
    if wanted != "text/html":
        return jsonify(
            name="CloudPing monitor",
            what="measures the round trip of a TCP connect to each target, without DNS",
            targets=[target.key for target in current.settings.targets],
            endpoints=ENDPOINTS,
        )
    return render_template(
        "page.html",
        targets=[_view(current, target) for target in current.settings.targets],
        settings=current.settings,
        window_minutes=WINDOW_S // 60,
        since=current.history.since,
        now=utc_now(),
        endpoints=ENDPOINTS,
    )


def _view(current: Monitor, target: Watched) -> TargetView:
    known = current.known(target)
    latest = known.latest
    return TargetView(
        key=target.key,
        is_fresh=current.is_fresh(target),
        latest_ms=latest.attempt.latency_ms if latest else None,
        reason=latest.attempt.reason if latest else None,
        address=latest.address if latest and latest.address != target.host else None,
        error=latest.error if latest else None,
        figures=current.figures(target),
        missed=known.missed,
        graph=draw(current.history.of(target.key), current.clock()),
    )


@blueprint.get("/latency")
def latency() -> Response:
    """The first target's figures, as the original has them, and those of all under `targets`."""
    current = monitor()
    everything = [_latency(current, target) for target in current.settings.targets]
    return jsonify({**everything[0], "targets": everything})


def _latency(current: Monitor, target: Watched) -> dict[str, Any]:
    known = current.known(target)
    latest, success, failure = known.latest, known.success, known.failure
    kernel = success is not None and success.method == METHOD_KERNEL
    latest_ms = success.attempt.latency_ms if success else None
    body = {
        "target_host": target.host,
        "target_port": target.port,
        "check_interval_seconds": current.settings.interval_s,
        "connect_timeout_seconds": current.settings.timeout_s,
        "latest_latency_ms": latest_ms,
        "last_success_unix": success.at if success else None,
        "last_error_message": failure.error if failure else None,
        "last_error_unix": failure.at if failure else None,
        "kernel_rtt_ms": latest_ms if kernel else None,
        "connect_ms": success.attempt.connect_ms if success else None,
        "dns_ms": latest.dns_ms if latest else None,
        "address": latest.address if latest else None,
        "method": latest.method if latest else None,
        "window_seconds": WINDOW_S,
        **asdict(current.figures(target)),
        "missed": known.missed,
        "history_since_unix": current.history.since,
    }
    return {name: round(v, 3) if isinstance(v, float) else v for name, v in body.items()}


@blueprint.get("/metrics")
def metrics() -> Response:
    """Text, or OpenMetrics where the scraper asks for it; `name[]` restricts the families."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = monitor().metrics.registry
    names = request.args.getlist("name[]")
    chosen = registry.restricted_registry(names) if names else registry
    return Response(encode(chosen), content_type=content_type)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    current = monitor()
    targets = {}
    for target in current.settings.targets:
        known = current.known(target)
        targets[target.key] = {
            "fresh": current.is_fresh(target),
            "last_success_unix": known.success.at if known.success else None,
            "stale_after_seconds": current.settings.stale_after_s,
            "last_error_message": known.failure.error if known.failure else None,
        }
    healthy = all(target["fresh"] for target in targets.values())
    body = {"status": "ok" if healthy else "failing", "targets": targets}
    return jsonify(body), 200 if healthy else 503


@blueprint.get("/health/live")
def live() -> tuple[Response, int]:
    alive = monitor().is_alive
    return jsonify(status="ok" if alive else "not measuring"), 200 if alive else 503
