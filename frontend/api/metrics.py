"""`/metrics`: the snapshot for Prometheus, in base units."""

from collections.abc import Iterator
from typing import Final

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cloudping import __version__
from cloudping.times import utc_now
from frontend.data.now import NOW
from frontend.data.site import snapshot
from frontend.data.snapshot import Snapshot
from frontend.serving.cache import keep
from frontend.views import status
from frontend.views.figures import is_mixed

blueprint = Blueprint("metrics", __name__)

PERCENTILES: Final = (50, 90, 99)
PAIR: Final = ("region_from", "region_to")


@blueprint.get("/metrics")
def page() -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot()))
    keep()
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Collector:
    def __init__(self, current: Snapshot) -> None:
        self._snapshot = current

    def collect(self) -> Iterator[Metric]:
        current = self._snapshot
        yield InfoMetricFamily("cloudping_build", "The version that runs.",
                               {"version": __version__})  # fmt: skip
        yield GaugeMetricFamily(
            "cloudping_simulated", "1 when figures come from the simulated network.",
            value=current.is_simulated)  # fmt: skip
        yield GaugeMetricFamily(
            "cloudping_store_up", "0 while the tables cannot be read.",
            value=current.taken_at is not None and current.failure is None)  # fmt: skip
        if current.taken_at is not None:
            yield GaugeMetricFamily(
                "cloudping_snapshot_timestamp_seconds", "When the tables were read.",
                value=current.taken_at.timestamp())  # fmt: skip
        yield from self._sources()
        yield from self._pairs()

    def _sources(self) -> Iterator[Metric]:
        last = GaugeMetricFamily("cloudping_source_last_run_timestamp_seconds",
                                 "Scheduled time of the newest run.",
                                 labels=["region"])  # fmt: skip
        seen = GaugeMetricFamily("cloudping_source_runs_seen",
                                 "Runs of the last 24 hours.",
                                     labels=["region"])  # fmt: skip
        expected = GaugeMetricFamily("cloudping_source_runs_expected",
                                     "Runs due in the last 24 hours.",
                                     labels=["region"])  # fmt: skip
        for source in status.sources(self._snapshot, utc_now()):
            if source.last_run is not None:
                last.add_metric([source.code], source.last_run.timestamp())
            seen.add_metric([source.code], source.seen)
            expected.add_metric([source.code], source.expected)
        yield from (last, seen, expected)

    def _pairs(self) -> Iterator[Metric]:
        median = GaugeMetricFamily("cloudping_last_run_round_trip_seconds",
                                   "Median round trip of the last run.", labels=PAIR)  # fmt: skip
        lost = GaugeMetricFamily("cloudping_last_run_loss_ratio",
                                 "Share of the last run's attempts that were lost.",
                                 labels=PAIR)  # fmt: skip
        for pair, cell in self._snapshot.cells.get(NOW, {}).items():
            if 50 in cell.figures.percentiles:
                median.add_metric(pair, cell.figures.percentiles[50] / 1000)
            if cell.figures.loss_pct is not None:
                lost.add_metric(pair, cell.figures.loss_pct / 100)
        day = GaugeMetricFamily("cloudping_day_round_trip_seconds",
                                "Percentiles of the round trip over the last day.",
                                labels=(*PAIR, "percentile"))  # fmt: skip
        day_lost = GaugeMetricFamily("cloudping_day_loss_ratio",
                                     "Share of the last day's attempts that were lost.",
                                     labels=PAIR)  # fmt: skip
        mixed = GaugeMetricFamily("cloudping_day_mixed",
                                  "1 for a pair whose samples of the last day were measured in "
                                  "several ways; absent for the others.", labels=PAIR)  # fmt: skip
        for pair, cell in self._snapshot.cells.get("1D", {}).items():
            if is_mixed(cell.figures):
                mixed.add_metric(pair, 1)
            for p in PERCENTILES:
                if p in cell.figures.percentiles:
                    day.add_metric((*pair, str(p)), cell.figures.percentiles[p] / 1000)
            if cell.figures.loss_pct is not None:
                day_lost.add_metric(pair, cell.figures.loss_pct / 100)
        yield from (median, lost, day, day_lost, mixed)
