"""Who a client is: what limits and shares are counted by."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

# RFC 6177 and RIPE-690 have a provider give a site anything up to a /48, with which it could be
# 65,536 clients of a /64 each. That neighbours with less share one is no more than what carriers'
# address translation does to IPv4.
IPV6_PREFIX: Final = 48


@lru_cache(4096)
def client(address: str) -> str:
    """Whom an address counts as: without a port, of IPv6 its /48; never longer than 64."""
    text = address.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 203.0.113.7:443, as load balancers can be told to write
        text = text.partition(":")[0]
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return text[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    unused = 128 - IPV6_PREFIX
    return f"{IPv6Address(int(ip) >> unused << unused)}/{IPV6_PREFIX}"


def origin(peer: str, forwarded: str, proxies: int) -> str:
    """The client behind `proxies` of ours, by X-Forwarded-For: each adds whom it heard from.

    With fewer entries than proxies the request came from one of these: the peer counts.
    """
    if not proxies:
        return client(peer)
    entries = [entry for entry in forwarded.split(",") if entry.strip()]
    return client(entries[-proxies] if len(entries) >= proxies else peer)
