# SPDX-License-Identifier: GPL-2.0-or-later
"""A computer at the other end of a wire that answers ARP and pings, and nothing else.

Spec: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP echo).
"""

from __future__ import annotations

from struct import pack

MAC = bytes.fromhex("525500000002")
ADDRESS = bytes((10, 0, 2, 2))
_ARP, _IP = b"\x08\x06", b"\x08\x00"
_ARP_REQUEST = bytes.fromhex("0001 0800 06 04 0001")
_ARP_REPLY = bytes.fromhex("0001 0800 06 04 0002")
_ICMP, _ECHO = 1, 8


def answer(frame: bytes) -> list[bytes]:
    """What 10.0.2.2 answers."""
    sender, kind, body = frame[6:12], frame[12:14], frame[14:]
    if kind == _ARP and body[:8] == _ARP_REQUEST and body[24:28] == ADDRESS:
        reply = _ARP_REPLY + MAC + ADDRESS + body[8:18]
        return [sender + MAC + _ARP + reply]
    if kind == _IP:
        packet = _pong(body)
        return [] if packet is None else [sender + MAC + _IP + packet]
    return []


def _pong(packet: bytes) -> bytes | None:
    """The answer to a ping; None to everything else, pieces of packets too."""
    if len(packet) < 20 or packet[0] != 0x45 or packet[9] != _ICMP or packet[16:20] != ADDRESS:
        return None
    length = int.from_bytes(packet[2:4], "big")
    echo = packet[20:length]
    in_pieces = packet[6] & 0x3F or packet[7]
    if in_pieces or length > len(packet) or len(echo) < 8 or echo[0] != _ECHO:
        return None
    echo = b"\0\0\0\0" + echo[4:]
    header = packet[:10] + b"\0\0" + ADDRESS + packet[12:16]
    return _with_checksum(header, 10) + _with_checksum(echo, 2)


def _with_checksum(data: bytes, at: int) -> bytes:
    """``data`` with the Internet checksum at an offset, where it is 0 now. Spec: RFC 1071."""
    total = sum(
        int.from_bytes(data[n : n + 2].ljust(2, b"\0"), "big") for n in range(0, len(data), 2)
    )
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + pack(">H", ~total & 0xFFFF) + data[at + 2 :]
