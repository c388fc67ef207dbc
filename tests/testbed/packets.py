"""Reads and builds the few IPv4 packets that the test bed needs."""

import socket
import struct
from dataclasses import dataclass

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ICMP, TCP, UDP = socket.IPPROTO_ICMP, socket.IPPROTO_TCP, socket.IPPROTO_UDP


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet's addresses (four bytes each), protocol and payload, with the original."""

    source: bytes
    target: bytes
    protocol: int
    payload: bytes
    original: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment; `options` by kind (RFC 9293, RFC 7323)."""

    source_port: int
    target_port: int
    seq: int
    ack: int
    flags: int
    options: dict[int, bytes]
    data: bytes


def parse(raw: bytes) -> Packet | None:
    """None for what is not a whole IPv4 packet."""
    if len(raw) < 20 or raw[0] >> 4 != 4:
        return None
    header = (raw[0] & 0x0F) * 4
    (length,) = struct.unpack_from("!H", raw, 2)
    return Packet(raw[12:16], raw[16:20], raw[9], raw[header:length], raw)


def parse_tcp(payload: bytes) -> Segment:
    source_port, target_port, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", payload)
    start = (offset >> 4) * 4
    return Segment(
        source_port, target_port, seq, ack, flags, _options(payload[20:start]), payload[start:]
    )


def _options(raw: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at < len(raw) and raw[at] != 0:
        if raw[at] == 1:
            at += 1
            continue
        length = max(2, raw[at + 1])
        found[raw[at]] = raw[at + 2 : at + length]
        at += length
    return found


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, source, target
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def _with_checksum(source: bytes, target: bytes, protocol: int, payload: bytes, at: int) -> bytes:
    pseudo = source + target + struct.pack("!BBH", 0, protocol, len(payload))
    value = checksum(pseudo + payload)
    return payload[:at] + struct.pack("!H", value) + payload[at + 2 :]


def tcp_reply(
    packet: Packet, segment: Segment, seq: int, flags: int, options: bytes = b""
) -> bytes:
    """A segment back to the sender that acknowledges all it sent."""
    sent = len(segment.data) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    payload = struct.pack(
        "!HHIIBBHHH",
        segment.target_port,
        segment.source_port,
        seq & 0xFFFFFFFF,
        (segment.seq + sent) & 0xFFFFFFFF,
        (20 + len(options)) // 4 << 4,
        flags,
        65535,
        0,
        0,
    )
    back = (packet.target, packet.source, TCP)
    return ipv4(*back, _with_checksum(*back, payload + options, 16))


def syn_ack_options(segment: Segment, timestamps: bool, now_ms: int) -> bytes:
    """MSS, and of the others what was offered; timestamps echo the client's (RFC 7323)."""
    options = struct.pack("!BBH", 2, 4, 1460)
    if timestamps and 8 in segment.options:
        stamp = struct.pack("!I", now_ms & 0xFFFFFFFF)
        options += b"\x04\x02\x08\x0a" + stamp + segment.options[8][:4]
    if 3 in segment.options:
        options += b"\x01\x03\x03\x07"
    return options


def icmp_unreachable(packet: Packet, code: int, router: bytes) -> bytes:
    """Destination unreachable (RFC 792) about a packet; sent by its target when the port is."""
    header = (packet.original[0] & 0x0F) * 4
    message = struct.pack("!BBHI", 3, code, 0, 0) + packet.original[: header + 8]
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ipv4(packet.target if code == 3 else router, packet.source, ICMP, message)


def udp_reply(packet: Packet, data: bytes) -> bytes:
    source_port, target_port = struct.unpack_from("!HH", packet.payload)
    payload = struct.pack("!HHHH", target_port, source_port, 8 + len(data), 0) + data
    back = (packet.target, packet.source, UDP)
    return ipv4(*back, _with_checksum(*back, payload, 6))


def dns_question(query: bytes) -> tuple[str, int]:
    """Name (lower case, no final dot) and type of a query's first question (RFC 1035)."""
    labels = []
    at = 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels).lower(), kind


def dns_answer(query: bytes, addresses: tuple[str, ...], rcode: int) -> bytes:
    """The answer with these A records, or with an error code."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    question = query[12 : end + 5]
    header = query[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, len(addresses), 0, 0)
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address)
        for address in addresses
    )
    return header + question + records
