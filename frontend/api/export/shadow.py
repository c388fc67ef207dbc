"""A network graph for Shadow, as GML: https://shadow.github.io/docs/guide/network_graph_spec.html"""

from typing import Final

from frontend.api.export.selection import ONE_WAY, Selection, p50

BANDWIDTH: Final = "10 Gbit"  # Shadow wants one; none is measured


def gml(selection: Selection) -> str:
    """Directed, since both directions were measured; with an edge from each node to itself.

    Edges have half of the median round trip, in us, and the loss of one way.
    """
    ids = {code: k for k, code in enumerate(selection.regions)}
    said = "; ".join(selection.lines(f"{ONE_WAY}, p50")).replace('"', "'")
    lines = ["graph [", "  directed 1", f'  comment "{said}; bandwidths are not measured"']
    for code, k in ids.items():
        lines += ["  node [", f"    id {k}", f'    label "{code}"',
                  f'    host_bandwidth_down "{BANDWIDTH}"', f'    host_bandwidth_up "{BANDWIDTH}"',
                  "  ]"]  # fmt: skip
    for a, b, found in selection.pairs():
        latency_us = max(1, round(p50(found) * 500))
        loss = 1 - (1 - found.loss_pct / 100) ** 0.5
        lines += ["  edge [", f"    source {ids[a]}", f"    target {ids[b]}"]
        lines += [f'    latency "{latency_us} us"', f"    packet_loss {loss:.8f}", "  ]"]
    return "\n".join([*lines, "]", ""])
