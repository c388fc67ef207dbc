"""NetworkChaos objects for Chaos Mesh, one for each directed pair.

https://github.com/chaos-mesh/chaos-mesh, config/crd/bases/chaos-mesh.org_networkchaos.yaml
"""

from frontend.api.export.selection import ONE_WAY, Selection, percentiles

HEAD = """# Pods carry the label cloudping-region: REGION (or change `labelSelectors`).
# Of each way: half of the median round trip; jitter: half of p90 - p50; loss of one way.
"""


def network_chaos(selection: Selection) -> str:
    """Documents of YAML; texts in it are codes and numbers, which need no quoting beyond this."""
    head = "".join(f"# {line}\n" for line in selection.lines(ONE_WAY)) + HEAD
    return head + "---\n".join(
        _object(a, b, percentiles(found, [50, 90]).tolist(), found.loss_pct)
        for a, b, found in selection.pairs()
        if a != b
    )


def _object(a: str, b: str, at: list[float], loss_pct: float) -> str:
    p50, p90 = at
    loss = 100 * (1 - (1 - loss_pct / 100) ** 0.5)
    return f"""apiVersion: chaos-mesh.org/v1alpha1
kind: NetworkChaos
metadata:
  name: cloudping-{a}-to-{b}
spec:
  action: netem
  mode: all
  selector:
    labelSelectors:
      cloudping-region: {a}
  direction: to
  target:
    mode: all
    selector:
      labelSelectors:
        cloudping-region: {b}
  delay:
    latency: {round(500 * p50)}us
    jitter: {round(500 * (p90 - p50))}us
    correlation: "0"
  loss:
    loss: "{loss:.6f}"
    correlation: "0"
"""
