"""Files for simulators: read back by what reads them, and each says what it holds."""

import csv
import io
import json
from dataclasses import replace

import networkx
import pytest
import yaml
from flask.testing import FlaskClient

from cloudping.regions import CATALOGUE, RegionState
from cloudping.settings import load
from frontend import create_app
from frontend.api.export.address import FORMATS
from frontend.api.export.selection import percentiles
from frontend.api.queries import EXPORTS
from frontend.data.samples import WindowSamples
from frontend.data.site import EXTENSION
from tests.frontend.conftest import installation, site_of
from tests.frontend.views.plan.planet import REGIONS, window

WINDOW = window()
US = {"us-east-1", "us-east-2", "us-west-2"}
# Of spec in config/crd/bases/chaos-mesh.org_networkchaos.yaml of github.com/chaos-mesh/chaos-mesh
# (read November 2026): what an object must and may have.
REQUIRED = {"action", "mode", "selector"}
ALLOWED = REQUIRED | {
    "bandwidth", "corrupt", "delay", "device", "direction", "duplicate", "duration",
    "externalTargets", "loss", "rate", "reorder", "target", "targetDevice", "value",
}  # fmt: skip
ACTIONS = {"netem", "delay", "loss", "duplicate", "corrupt", "partition", "bandwidth"}
MODES = {"one", "all", "fixed", "fixed-percent", "random-max-percent"}


class _AllPairs:
    """What the tables would give; reading them is tested on moto."""

    def window(self, timeframe: str) -> WindowSamples:
        return replace(WINDOW, timeframe=timeframe)


@pytest.fixture(scope="module")
def web() -> FlaskClient:
    settings = load({"FRONTEND_REQUESTS_PER_MINUTE": "0"})
    app = create_app(settings, client=object(), background=False)
    site = site_of(app)
    states = tuple(RegionState(CATALOGUE[code], True, True, 300, "opted-in") for code in REGIONS)
    site.keeper.snapshot = replace(installation(), states=states)
    app.extensions[EXTENSION] = replace(site, all_pairs=_AllPairs())  # type: ignore[arg-type]  # a stand-in
    return app.test_client()


def export(web: FlaskClient, form: str, regions: str = "us-") -> str:
    answer = web.get("/api/v1/export", query_string={"format": form, "regions": regions})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def p50_ms(a: str, b: str) -> float:
    return float(percentiles(WINDOW.pairs[a, b], [50])[0])


def test_every_format_says_what_it_holds(web: FlaskClient) -> None:
    assert tuple(FORMATS) == EXPORTS
    for form in FORMATS:
        text = export(web, form)
        for said in ("round trip", "2026-10-21", "2026-11-20", "simulated, not AWS", "CC BY 4.0",
                     "least_samples_of_a_pair", "CloudPing"):  # fmt: skip
            assert said in text, (form, said)
        if form in ("shadow", "chaos-mesh"):
            assert "one way (half of the round trip)" in text


def test_measured_is_said_of_what_was_measured(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = replace(WINDOW, origin="aws")
    monkeypatch.setattr(_AllPairs, "window", lambda *_: real)
    assert "measured between AWS regions" in export(web, "triples")


def test_json_has_all_percentiles_both_ways(web: FlaskClient) -> None:
    found = json.loads(export(web, "json"))
    assert len(found["data"]) == 9
    for pair in found["data"]:
        code = pair["region_from"], pair["region_to"]
        assert pair["round_trip_ms"]["p_50"] == p50_ms(*code)
        assert pair["one_way_ms"]["p_99"] == pytest.approx(
            pair["round_trip_ms"]["p_99"] / 2, abs=1e-3
        )
        assert list(pair["round_trip_ms"].values()) == sorted(pair["round_trip_ms"].values())


def test_csv_as_a_matrix_and_as_rows(web: FlaskClient) -> None:
    lines = [line for line in export(web, "csv").splitlines() if not line.startswith("#")]
    [head, *rows] = csv.reader(lines)
    assert set(head[1:]) == US
    for name, *cells in rows:
        assert [float(cell) for cell in cells] == [p50_ms(name, to) for to in head[1:]]
    lines = [line for line in export(web, "rows").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        assert float(row["rtt_p_50_ms"]) == p50_ms(row["region_from"], row["region_to"])


def test_triples(web: FlaskClient) -> None:
    lines = [line for line in export(web, "triples").splitlines() if not line.startswith("#")]
    assert len(lines) == 6
    for line in lines:
        a, b, latency = line.split(" ")
        assert latency == f"{p50_ms(a, b):g}ms"


def test_networkx_reads_the_graph_for_shadow(web: FlaskClient) -> None:
    graph = networkx.parse_gml(export(web, "shadow"))
    assert graph.is_directed()
    assert set(graph) == US
    assert graph.number_of_edges() == 9  # from each node to itself as well: Shadow asks for it
    for a, b, edge in graph.edges(data=True):
        latency, unit = edge["latency"].split()
        assert unit == "us"
        assert int(latency) == pytest.approx(500 * p50_ms(a, b), abs=0.51)
        assert 0 <= edge["packet_loss"] < 0.01
    assert all(node["host_bandwidth_up"].endswith("bit") for _, node in graph.nodes(data=True))


def test_objects_of_chaos_mesh_keep_to_its_schema(web: FlaskClient) -> None:
    found = list(yaml.safe_load_all(export(web, "chaos-mesh")))
    assert len(found) == 6
    assert len({one["metadata"]["name"] for one in found}) == 6
    for one in found:
        assert (one["apiVersion"], one["kind"]) == ("chaos-mesh.org/v1alpha1", "NetworkChaos")
        spec = one["spec"]
        assert set(spec) >= REQUIRED
        assert set(spec) <= ALLOWED
        assert spec["action"] in ACTIONS
        assert {spec["mode"], spec["target"]["mode"]} <= MODES
        assert spec["direction"] in ("to", "from", "both")
        [a] = spec["selector"]["labelSelectors"].values()
        [b] = spec["target"]["selector"]["labelSelectors"].values()
        assert set(spec["delay"]) <= {"latency", "jitter", "correlation", "reorder"}
        assert all(isinstance(text, str) for text in spec["delay"].values())
        assert set(spec["loss"]) == {"loss", "correlation"}
        assert all(isinstance(text, str) for text in spec["loss"].values())
        assert float(spec["delay"]["latency"].removesuffix("us")) == round(500 * p50_ms(a, b))


def test_what_cannot_be_exported_is_said(web: FlaskClient) -> None:
    for query, said in (
        ("format=xml", "format"),
        ("regions=Atlantis", "no region with a probe"),
        ("timeframe=now", "timeframe"),
    ):
        answer = web.get(f"/api/v1/export?{query}")
        assert answer.status_code == 400
        assert answer.json is not None
        assert said in answer.json["message"]


def test_a_script_of_too_many_regions_is_refused(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "netem", replace(FORMATS["netem"], most=2))
    answer = web.get("/api/v1/export?format=netem&regions=us-")
    assert answer.status_code == 400
    assert answer.json is not None
    assert "regions: 3, expected 2 at most for netem.sh" in answer.json["message"]
