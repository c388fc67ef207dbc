"""What `/api/v1` answers, as marshmallow schemas: the OpenAPI document is made from them."""

from datetime import UTC
from typing import Any

import marshmallow as ma

from cloudping.summaries import PERCENTILES


class ErrorSchema(ma.Schema):
    """The one shape of every error."""

    code = ma.fields.Integer(required=True, metadata={"description": "HTTP status code"})
    status = ma.fields.String(required=True, metadata={"description": "its name"})
    message = ma.fields.String(required=True, metadata={"description": "what was wrong"})
    id = ma.fields.String(
        required=True, metadata={"description": "of this error: the log has it as well"}
    )
    errors = ma.fields.Dict(metadata={"description": "by parameter, what is wrong with it"})
    suggestions = ma.fields.List(
        ma.fields.String(), metadata={"description": "regions that may have been meant"}
    )


def text(description: str, **more: Any) -> ma.fields.String:
    return ma.fields.String(metadata={"description": description}, **more)


def number(description: str) -> ma.fields.Float:
    return ma.fields.Float(allow_none=True, metadata={"description": description})


def time(description: str, **more: Any) -> ma.fields.AwareDateTime:
    return ma.fields.AwareDateTime(
        "iso", default_timezone=UTC, metadata={"description": description}, **more
    )


class FiguresSchema(ma.Schema):
    """What is known of a pair over one stretch of time."""

    samples = ma.fields.Integer(metadata={"description": "n: exact latencies behind the figures"})
    mean = number("ms")
    stddev = number("ms")
    min = number("ms")
    max = number("ms")
    loss_pct = number("share of attempts that the network lost, in percent")
    coverage_pct = number("attempts made against attempts scheduled, in percent")
    failures = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(),
        metadata={"description": "attempts without a latency, by reason"},
    )
    first_sample = time("oldest sample", allow_none=True)
    last_sample = time("newest sample", allow_none=True)
    methods = ma.fields.List(
        ma.fields.String(), metadata={"description": "how the samples were measured"}
    )
    network = text("aws, or simulated")


FiguresSchema = FiguresSchema.from_dict(  # type: ignore[misc,assignment]  # percentiles join the declared fields
    {f"p_{p}": number(f"percentile {p}, ms; null with too few samples") for p in PERCENTILES},
    name="Figures",
)


class CellSchema(FiguresSchema):
    region_from = text("source: where the probe runs")
    region_to = text("target: what it measures")
    timeframe = text("now, 1D, 1W, 1M or 1Y")
    window_start = time("start of the window")
    window_end = time("end of the window")
    updated_at = time("when it was computed")
    value = number("the chosen figure")
    meets = ma.fields.Boolean(
        allow_none=True, metadata={"description": "whether value is at most `within`"}
    )


class PointSchema(FiguresSchema):
    at = text("the day (YYYY-MM-DD) or the start of the hour")


class RegionSchema(ma.Schema):
    region = text("code")
    name = text("AWS' name")
    partition = text("aws, aws-cn, aws-us-gov or aws-eusc")
    geography = text("part of the world")
    place = text("city or area that AWS names")
    latitude = ma.fields.Float(metadata={"description": "degrees north"})
    longitude = ma.fields.Float(metadata={"description": "degrees east"})
    endpoint = text("host that is measured")
    is_source = ma.fields.Boolean(metadata={"description": "a probe runs there"})
    is_target = ma.fields.Boolean(metadata={"description": "probes measure it"})
    interval_s = ma.fields.Integer(metadata={"description": "how often it measures; 0: no source"})
    opt_in_status = text("of the account")
    earliest_data = time("first data", allow_none=True)
    latest_data = time("last data", allow_none=True)


class SampleSchema(ma.Schema):
    at = time("scheduled time of the run")
    attempt = ma.fields.Integer(metadata={"description": "number within the run, from 0"})
    latency_ms = number("the latency; null where there is none")
    connect_ms = number("user-space time of connect(), beside it")
    retransmits = ma.fields.Integer(metadata={"description": "SYNs that were sent again"})
    reason = text("why there is no latency", allow_none=True)
    address = text("address that was connected to", allow_none=True)
    method = text("how it was measured")
    network = text("aws, or simulated")


class SourceSchema(ma.Schema):
    region = text("code")
    state = text("ok, late, silent or waiting")
    last_run = time("newest run", allow_none=True)
    interval_s = ma.fields.Integer(metadata={"description": "its schedule"})
    runs_expected = ma.fields.Integer(metadata={"description": "in the last 24 hours"})
    runs_seen = ma.fields.Integer(metadata={"description": "in the last 24 hours"})
    loss_pct = number("mean over its targets, 1 day")
    lateness_ms = number("how late its last run began")
    wall_ms = number("how long its last run took")


class MetadataSchema(ma.Schema):
    network = text("simulated as soon as anything in the answer is", allow_none=True)
    snapshot = time("when the tables were read", allow_none=True)
    stale_since = time("set while the tables cannot be read", allow_none=True)
    licence = text("of the data")
    metric = text("the figure that was chosen, where one is")
    timeframe = text("the window that was chosen, where one is")


class _Rows(ma.Schema):
    metadata = ma.fields.Nested(MetadataSchema)


class RegionsSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(RegionSchema))


class ChangedPairSchema(ma.Schema):
    """What a change did to a directed pair."""

    region_from = text("source")
    region_to = text("target")
    first_day = ma.fields.Date(metadata={"description": "the first day on the new level"})
    last_day = ma.fields.Date(allow_none=True, metadata={"description": "null while it lasts"})
    before = number("median of the daily figure before, ms or, for loss, %")
    after = number("the same after")
    sigmas = number("the change over its standard error")


class ChangeSchema(ma.Schema):
    """A level shift or an outage: pairs that changed together and share an end."""

    id = text("stays as long as the change is known")
    figure = text("p50, p99 or loss")
    role = text("from, to, both: of a region; between: two groups; path: one pair")
    ends = ma.fields.List(ma.fields.String(), metadata={"description": "whom it concerns"})
    title = text("in words")
    first_day = ma.fields.Date(metadata={"description": "on which most of its pairs changed"})
    last_day = ma.fields.Date(allow_none=True, metadata={"description": "null while it lasts"})
    measured = ma.fields.Integer(metadata={"description": "pairs that it could have touched"})
    least_change = number("of its pairs, ms or, for loss, percentage points")
    largest_change = number("of its pairs")
    pairs = ma.fields.List(ma.fields.Nested(ChangedPairSchema))
    is_withdrawn = ma.fields.Boolean(metadata={"description": "later days did not bear it out"})
    found_at = time("when it was first seen")
    updated_at = time("when it was last revised")
    network = text("aws, or simulated")


class ChangesSchema(_Rows):
    until = ma.fields.Date(
        allow_none=True, metadata={"description": "the last day that was looked through"}
    )
    data = ma.fields.List(ma.fields.Nested(ChangeSchema))


class MatrixSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(CellSchema))


class PairSchema(_Rows):
    region_from = text("source")
    region_to = text("target")
    light_ms = number("round trip of light in fibre along the great circle")
    ratio = number("p50 of one day against light_ms; null where that is below 1 ms")
    out = ma.fields.List(ma.fields.Nested(CellSchema))
    back = ma.fields.List(ma.fields.Nested(CellSchema))


class HistorySchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(PointSchema))


class SamplesSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(SampleSchema))
    cursor = text("ask for the next page with this; null on the last one", allow_none=True)


class BinSchema(ma.Schema):
    latency_ms = ma.fields.Float(metadata={"description": "at 0.01 ms"})
    count = ma.fields.Integer()


class PercentileSchema(ma.Schema):
    p = ma.fields.Integer(metadata={"description": "which percentile"})
    value_ms = ma.fields.Float(metadata={"description": "ms"})
    low_ms = number("lower end of its exact 95 % interval, ms; null with too few samples")
    high_ms = number("upper end")


class DistributionSchema(_Rows):
    samples = ma.fields.Integer()
    percentiles = ma.fields.List(
        ma.fields.Nested(PercentileSchema),
        metadata={"description": "those that so many samples allow"},
    )
    failures = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Integer())
    methods = ma.fields.List(
        ma.fields.String(), metadata={"description": "how the samples were measured"}
    )
    data = ma.fields.List(ma.fields.Nested(BinSchema))


class PlanClientSchema(ma.Schema):
    region = text("code")
    weight = ma.fields.Float()
    asked = text("the replica that it asks")
    p_50 = number("ms")
    p_99 = number("ms")
    value = number("the chosen figure, ms")
    write_ms = number("of protocol=primary: the chosen figure of a write")


class PlanLossSchema(ma.Schema):
    lost = text("the member")
    asked = ma.fields.List(ma.fields.String(), metadata={"description": "the new leader, or chain"})
    value = number("the chosen figure, ms; null where no operation completes any more")


class PlanSetSchema(ma.Schema):
    place = ma.fields.Integer(metadata={"description": "from 1; equal figures have the same"})
    replicas = ma.fields.List(ma.fields.String())
    asked = ma.fields.List(
        ma.fields.String(),
        metadata={
            "description": "the leader; a chain in order; of DSQL the regions with endpoints; "
            "empty where each client asks its nearest"
        },
    )
    value = number("the chosen figure, ms")
    low = number("of its 95 % interval")
    high = number("of its 95 % interval")
    worst = number("of the clients, ms")
    mean = number("of the clients by weight, ms")
    is_alike = ma.fields.Boolean(
        metadata={"description": "its interval meets the best one's: they cannot be told apart"}
    )
    deciding = text("the client that makes it worse than the best")
    more_ms = number("by how much")
    clients = ma.fields.List(ma.fields.Nested(PlanClientSchema))
    losses = ma.fields.List(
        ma.fields.Nested(PlanLossSchema),
        metadata={"description": "of the best set and of `mine`: what each member's loss leaves"},
    )


class PlanSchema(_Rows):
    protocol = text("name")
    formula = text("d a round trip, Q_k(x) the k-th smallest from x to the replicas")
    source = text("of the formula")
    candidates = ma.fields.Integer(metadata={"description": "regions that may be replicas"})
    primary = text("of protocol=primary: the region that is best for writes", allow_none=True)
    bound_ms = number("null: no better set was left out; else where the search stopped")
    survives = ma.fields.Integer(metadata={"description": "losses"})
    samples = ma.fields.Integer(metadata={"description": "n of the pair with the fewest"})
    window_start = time("start of the window")
    window_end = time("end of the window")
    left_out = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.String(),
        metadata={"description": "candidates that were not usable, with the reason"},
    )
    mine = ma.fields.Nested(PlanSetSchema, allow_none=True)
    data = ma.fields.List(ma.fields.Nested(PlanSetSchema))


class RelaySchema(ma.Schema):
    via = text("the third region")
    p_50 = number("of the sum of both legs, ms")
    p_99 = number("of the sum of both legs, ms")
    gain_p_50 = number("direct less that, ms")
    gain_p_99 = number("direct less that, ms")
    days_held = ma.fields.Integer(
        metadata={"description": "days of the last year on which the way round was shorter"}
    )
    days = ma.fields.Integer(metadata={"description": "days with figures of all three pairs"})


class RelaysSchema(_Rows):
    window_start = time("start of the window")
    window_end = time("end of the window")
    data = ma.fields.List(ma.fields.Nested(RelaySchema))


class StatusSchema(_Rows):
    data = ma.fields.List(ma.fields.Nested(SourceSchema))
