# SPDX-License-Identifier: GPL-2.0-or-later
"""GDB's remote serial protocol on the wire: packets, checksums, acknowledges, Ctrl-C.

``$data#checksum``, where ``}`` escapes a byte and the checksum is the sum of data modulo 256 in two
hexadecimal digits. Each packet is answered by ``+`` or ``-`` until the client asks for silence. A
lone 0x03 is Ctrl-C. What a client may send without being one of ours is bounded.

Reference: "Debugging with GDB", appendix E (Overview, Packet Acknowledgment, Interrupts).
Left out: run-length encoding of what is sent, notifications.
"""

from __future__ import annotations

import select
import socket

MAX_PACKET = 0x4000
"""Bytes between ``$`` and ``#``, as told to the client in PacketSize."""
INTERRUPT = b"\x03"
"""Answered by `Connection.receive` for Ctrl-C: no packet looks like it."""

_PATIENCE = 8
"""Packets in a row that may arrive damaged, or be asked for again."""
_SEND_TIMEOUT = 10.0
"""Seconds after which a client that reads nothing counts as gone."""
_ESCAPED = frozenset(b"#$}*")


class ConnectionLostError(Exception):
    """The client went away, or sends what no debugger sends; the text says which."""


def checksum(data: bytes) -> bytes:
    """Two hexadecimal digits."""
    return b"%02x" % (sum(data) & 0xFF)


def escape(data: bytes) -> bytes:
    """Binary data as it may stand in a packet."""
    if _ESCAPED.isdisjoint(data):
        return data
    return b"".join(bytes((0x7D, b ^ 0x20)) if b in _ESCAPED else bytes((b,)) for b in data)


def unescape(data: bytes) -> bytes:
    """The opposite of `escape`; a lone escape at the end is dropped."""
    first, *rest = data.split(b"}")
    return first + b"".join(bytes((piece[0] ^ 0x20,)) + piece[1:] for piece in rest if piece)


class Connection:
    """Packets to and from one client; ``acknowledge`` is on until QStartNoAckMode."""

    def __init__(self, client: socket.socket) -> None:
        client.settimeout(_SEND_TIMEOUT)
        self._client = client
        self._received = bytearray()
        self._garbage = 0
        self._damaged = 0
        self._repeated = 0
        self._last = b""
        self.acknowledge = True

    def close(self) -> None:
        self._client.close()

    def receive(self, timeout: float) -> bytes | None:
        """The next packet's data as it came, or INTERRUPT; None if none comes in time (seconds).

        Raises: ConnectionLostError.
        """
        packet = self._next()
        if packet is None and select.select([self._client], [], [], timeout)[0]:
            self._fill()
            packet = self._next()
        return packet

    def send(self, data: bytes) -> None:
        """Send a packet; binary data must be escaped already.

        Raises: ConnectionLostError.
        """
        self._last = b"$" + data + b"#" + checksum(data)
        self._write(self._last)

    # -- inside

    def _write(self, data: bytes) -> None:
        try:
            self._client.sendall(data)
        except OSError as error:
            raise ConnectionLostError("connection lost") from error

    def _fill(self) -> None:
        try:
            data = self._client.recv(4 * MAX_PACKET)
        except OSError as error:
            raise ConnectionLostError("connection lost") from error
        if not data:
            raise ConnectionLostError("connection lost")
        self._received += data

    def _next(self) -> bytes | None:
        """Take a packet or Ctrl-C out of what was received, if there is a whole one."""
        received = self._received
        while received:
            first = received[0]
            if first == 0x24:
                packet = self._take_packet()
                if packet is not None or received[:1] == b"$":
                    return packet
                continue
            del received[0]
            if first == INTERRUPT[0]:
                return INTERRUPT
            if first == 0x2D:
                self._repeat()
            elif first != 0x2B:
                self._garbage += 1
                if self._garbage > MAX_PACKET:
                    raise ConnectionLostError("what arrives is not GDB's protocol")
        return None

    def _take_packet(self) -> bytes | None:
        """The packet that begins what was received; None if it is not whole, or was damaged."""
        received = self._received
        end = received.find(b"#", 1, MAX_PACKET + 2)
        if end < 0 and len(received) > MAX_PACKET + 1:
            raise ConnectionLostError(f"a packet is longer than {MAX_PACKET} bytes")
        if end < 0 or len(received) < end + 3:
            return None
        data, sent = bytes(received[1:end]), bytes(received[end + 1 : end + 3])
        del received[: end + 3]
        if sent.lower() == checksum(data):
            self._damaged = self._garbage = self._repeated = 0
            if self.acknowledge:
                self._write(b"+")
            return data
        self._damaged += 1
        if self._damaged > _PATIENCE or not self.acknowledge:
            raise ConnectionLostError("packets arrive damaged")
        self._write(b"-")
        return self._next()

    def _repeat(self) -> None:
        """The client asks for the last packet again."""
        self._repeated += 1
        if self._repeated > _PATIENCE:
            raise ConnectionLostError("the client finds every packet damaged")
        if self.acknowledge and self._last:
            self._write(self._last)
