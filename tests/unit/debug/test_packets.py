# SPDX-License-Identifier: GPL-2.0-or-later
"""GDB's packets on the wire, also those that no debugger sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from smmu_emu.debug.packets import (
    INTERRUPT,
    MAX_PACKET,
    Connection,
    ConnectionLostError,
    checksum,
    escape,
    unescape,
)
from tests.unit.debug.client import framed, received

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours), theirs


def receive_all(connection: Connection) -> None:
    for _ in range(100):
        connection.receive(0)


def test_packet_has_the_form_that_the_manual_shows(pair: Pair) -> None:
    connection, client = pair
    client.sendall(b"$m4015bc,2#5a")
    assert connection.receive(0) == b"m4015bc,2"
    connection.send(b"OK")
    assert received(client) == b"+$OK#9a"


def test_checksum_of_nothing_is_two_zeros() -> None:
    assert checksum(b"") == b"00"


@pytest.mark.parametrize(
    ("data", "sent"), [(b"#", b"}\x03"), (b"$", b"}\x04"), (b"}", b"}]"), (b"*", b"}\n")]
)
def test_bytes_with_a_meaning_are_escaped(data: bytes, sent: bytes) -> None:
    assert escape(data) == sent
    assert unescape(sent) == data


def test_every_byte_survives_escapes() -> None:
    data = bytes(range(256)) * 2
    assert unescape(escape(data)) == data


def test_lone_escape_at_the_end_is_dropped() -> None:
    assert unescape(b"ab}") == b"ab"


def test_packet_in_pieces_is_put_together(pair: Pair) -> None:
    connection, client = pair
    for byte in b"$g#6":
        client.sendall(bytes((byte,)))
        assert connection.receive(0) is None
    client.sendall(b"7")
    assert connection.receive(0) == b"g"


def test_packets_and_ctrl_c_come_in_order(pair: Pair) -> None:
    connection, client = pair
    client.sendall(b"+" + framed(b"c") + b"\x03" + framed(b"?"))
    assert [connection.receive(0) for _ in range(4)] == [b"c", INTERRUPT, b"?", None]


def test_damaged_packet_is_asked_for_again(pair: Pair) -> None:
    connection, client = pair
    client.sendall(b"$g#00")
    assert connection.receive(0) is None
    client.sendall(b"$g#67")
    assert connection.receive(0) == b"g"
    assert received(client) == b"-+"


def test_lost_answer_is_sent_again(pair: Pair) -> None:
    connection, client = pair
    connection.send(b"OK")
    client.sendall(b"-")
    assert connection.receive(0) is None
    assert received(client) == b"$OK#9a$OK#9a"


def test_silence_is_kept_when_asked_for(pair: Pair) -> None:
    connection, client = pair
    connection.acknowledge = False
    client.sendall(framed(b"g"))
    assert connection.receive(0) == b"g"
    assert received(client) == b""


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"$" + b"x" * (MAX_PACKET + 1), "longer than 16384 bytes"),
        (b"GET / HTTP/1.1\r\n" * 2000, "not GDB's protocol"),
        (b"$g#00" * 20, "damaged"),
        (b"-" * 20, "every packet damaged"),
    ],
)
def test_who_is_no_debugger_is_shown_out(pair: Pair, wire: bytes, words: str) -> None:
    connection, client = pair
    client.sendall(wire)
    with pytest.raises(ConnectionLostError, match=words):
        receive_all(connection)


def test_longest_packet_is_taken(pair: Pair) -> None:
    connection, client = pair
    client.sendall(framed(b"x" * MAX_PACKET))
    assert connection.receive(0) == b"x" * MAX_PACKET


def test_client_that_goes_in_the_middle_of_a_packet_is_lost(pair: Pair) -> None:
    connection, client = pair
    client.sendall(b"$m4015")
    client.close()
    assert connection.receive(0) is None
    with pytest.raises(ConnectionLostError, match="connection lost"):
        connection.receive(0)


def test_sending_to_who_is_gone_is_no_crash(pair: Pair) -> None:
    connection, client = pair
    client.close()
    with pytest.raises(ConnectionLostError, match="connection lost"):
        connection.send(b"OK")
