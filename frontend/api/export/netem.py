"""A shell script that makes a machine as far from others as its region is, with Linux' netem.

A round trip passes netem twice, once at each end. Two independent halves would give a round trip
that varies less than the measured one, so of each pair one end delays by a fixed half of the
median, and the other by what a drawn round trip takes beyond that: the median of each way is half,
and the round trip has the measured distribution. The end that varies is the second by name.

netem draws t from a table of 16-bit numbers and delays by mean + t / 8192 * sigma
(net/sched/sch_netem.c, NETEM_DIST_SCALE); so the table holds quantiles.
"""

from typing import Final

import numpy as np

from frontend.api.export.selection import Selection, p50, percentiles
from frontend.data.samples import PairSamples

MOST_REGIONS: Final = 16  # so that the script stays below a megabyte
ENTRIES: Final = 2048  # of at most 16384: a P99 has 20 beyond it
SCALE: Final = 8192
HIGHEST: Final = 32767 / SCALE  # in sigmas

SCRIPT: Final = r"""
# usage: sh netem.sh REGION DEVICE HOSTS
#   REGION  where this machine is to be; DEVICE  e.g. eth0
#   HOSTS   a file with a line for each other machine: ADDRESS REGION
# Run it on every machine, as root. To undo: tc qdisc del dev DEVICE root
# Packets whose delays differ may overtake each other, as netem does it; on real paths few do.
set -eu
[ $# -eq 3 ] || { echo "usage: sh netem.sh REGION DEVICE HOSTS" >&2; exit 2; }
me=$1 dev=$2 hosts=$3
[ -r "$hosts" ] || { echo "$hosts: cannot be read" >&2; exit 2; }
case " $regions " in *" $me "*) ;; *) echo "$me: expected one of $regions" >&2; exit 2;; esac
tables=$(mktemp -d)
trap 'rm -rf "$tables"' EXIT
TC_LIB_DIR=$tables
export TC_LIB_DIR
tc qdisc del dev "$dev" root 2>/dev/null || true
tc qdisc add dev "$dev" root handle 1: htb default 1
tc class add dev "$dev" parent 1: classid 1:1 htb rate 10gbit quantum 60000
class=1
# to FROM TO DELAY_US SIGMA_US LOSS_PERCENT: what FROM sends to TO; the table comes on stdin.
to() {
  cat > "$tables/table.dist"
  [ "$1" = "$me" ] || return 0
  class=$((class + 1))
  id=$(printf %x $class)
  tc class add dev "$dev" parent 1: classid "1:$id" htb rate 10gbit quantum 60000
  if [ "$4" -eq 0 ]; then
    tc qdisc add dev "$dev" parent "1:$id" handle "$id:" netem limit 100000 delay "$3us" loss "$5%"
  else
    tc qdisc add dev "$dev" parent "1:$id" handle "$id:" netem limit 100000 \
      delay "$3us" "$4us" distribution table loss "$5%"
  fi
  while read -r address region; do
    [ "$region" = "$2" ] || continue
    case $address in
      *:*) tc filter add dev "$dev" parent 1: protocol ipv6 prio 2 u32 \
             match ip6 dst "$address/128" flowid "1:$id" ;;
      *) tc filter add dev "$dev" parent 1: protocol ip prio 1 u32 \
             match ip dst "$address/32" flowid "1:$id" ;;
    esac
  done < "$hosts"
}
"""


def script(selection: Selection) -> str:
    """For sh and tc; of regions in the same place, nothing: their machines are as they are."""
    lines = ["#!/bin/sh"]
    lines += [f"# {line}" for line in selection.lines("both ways together the measured round trip")]
    lines += [f'regions="{" ".join(selection.regions)}"', SCRIPT]
    for k, a in enumerate(sorted(selection.regions)):
        for b in sorted(selection.regions)[k + 1 :]:
            if (found := selection.both(a, b)) is not None:
                lines += _pair(a, b, found)
    return "\n".join([*lines, ""])


def _pair(a: str, b: str, found: PairSamples) -> list[str]:
    half_us = round(p50(found) * 500)
    loss = 100 * (1 - (1 - found.loss_pct / 100) ** 0.5)
    quantiles = percentiles(found, (np.arange(ENTRIES) + 0.5) * 100 / ENTRIES) * 1000 - half_us
    mean = float(quantiles.mean())
    # So that the farthest quantile just fits; netem keeps sigma as a whole number of ns.
    sigma = max(1, round(float(np.abs(quantiles - mean).max()) / HIGHEST + 0.5))
    table = np.rint((quantiles - round(mean)) / sigma * SCALE).astype(np.int64)
    table = np.clip(table, -32768, 32767)
    varies = len(found.units) > 1
    lines = [f"to {a} {b} {half_us} 0 {loss:.6f} < /dev/null",
             f"to {b} {a} {round(mean)} {sigma if varies else 0} {loss:.6f} <<TABLE"]  # fmt: skip
    lines += [" ".join(map(str, row)) for row in table.reshape(-1, 16)]
    return [*lines, "TABLE"]
