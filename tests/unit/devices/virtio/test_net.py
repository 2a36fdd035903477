# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-net: frames out and in, and the peer that answers them."""

from __future__ import annotations

import pytest

from smmu_emu.devices.reporter import Report
from smmu_emu.devices.virtio import peer
from smmu_emu.devices.virtio.net import Backend, VirtioNet, loop, unplugged
from smmu_emu.devices.virtio.pci import VirtioPci
from tests.unit.devices.virtio.pci_rig import DATA, DEVICE, NEEDS_RESET, WRITE, PciDriver

ROOM = DATA + 0x8000
HEADER = bytes(12)
FRAME = bytes.fromhex("ffffffffffff525400123456 88b5") + b"hello, wire"
GUEST = bytes.fromhex("525400123456")


class Card(PciDriver):
    """A card at work, with two buffers for what arrives."""

    def __init__(self, backend: Backend = unplugged) -> None:
        def make(report: Report) -> VirtioPci:
            self.net = VirtioNet(backend, report=report)
            return VirtioPci(self.net, 0x020000, report)

        super().__init__(make)
        self.start()

    def send(self, frame: bytes, header: bytes = HEADER) -> None:
        data = header + frame
        self.memory.write(DATA, data)
        self.describe(1, (DATA, len(data), 0, 0))
        self.offer(1, 0)

    def give_room(self, count: int = 2, size: int = 2048) -> None:
        self.describe(0, *((ROOM + 0x1000 * n, size, WRITE, 0) for n in range(count)))
        self.offer(0, *range(count))


def test_address_and_link_are_shown() -> None:
    card = Card()
    assert card.get(DEVICE, 8) == 0x0001_5634_1200_5452
    assert card.features() == 0x3_1001_0020  # MAC, STATUS
    assert card.config_read(0, 4) == 0x1041_1AF4


def test_sent_frame_reaches_the_wire_without_its_header() -> None:
    heard: list[bytes] = []

    def listen(frame: bytes) -> list[bytes]:
        heard.append(frame)
        return []

    card = Card(listen)
    card.send(FRAME)
    assert heard == [FRAME]
    assert card.used(1) == [(0, 0)]
    assert card.message(2) == 0xC0DE_0002
    assert (card.net.sent, card.net.received) == (1, 0)


def test_frame_that_comes_back_fills_one_buffer() -> None:
    card = Card(loop)
    card.give_room()
    card.send(FRAME)
    assert card.used(0) == [(0, 12 + len(FRAME))]
    assert card.read(ROOM, 12 + len(FRAME)) == HEADER[:10] + b"\1\0" + FRAME
    assert card.message(1) == 0xC0DE_0001


def test_frame_waits_for_a_buffer() -> None:
    card = Card()
    card.net.receive(FRAME)
    assert card.used(0) == []
    card.give_room(1)
    assert card.used(0) == [(0, 12 + len(FRAME))]
    card.net.receive(FRAME)
    card.offer(0, 0)
    assert card.net.received == 2


def test_frames_that_nobody_takes_are_dropped() -> None:
    card = Card()
    for _ in range(300):
        card.net.receive(FRAME)
    assert card.net.dropped == 300 - 256
    card.put(0x14, 1, 0)
    card.net.receive(FRAME)
    assert card.net.dropped == 300 - 256 + 1
    card.start()
    card.give_room()
    assert card.used(0) == []


def test_frame_longer_than_its_buffer_is_cut() -> None:
    card = Card()
    card.give_room(1, 20)
    card.net.receive(FRAME)
    assert card.used(0) == [(0, 20)]


def test_link_that_goes_down_is_told_and_carries_nothing() -> None:
    card = Card(loop)
    card.give_room()
    card.net.set_link(False)
    assert card.get(DEVICE + 6, 2) == 0
    assert card.get(0x15, 1) == 1
    assert card.message(0) == 0xC0DE_0000
    card.send(FRAME)
    assert (card.used(0), card.net.sent, card.net.dropped) == ([], 0, 1)
    card.net.set_link(True)
    assert card.get(0x15, 1) == 2


def test_frame_without_header_breaks_the_device() -> None:
    card = Card(loop)
    card.send(b"", header=bytes(11))
    assert card.get(0x14, 1) & NEEDS_RESET
    assert "a frame without its header" in card.told


def test_frame_shorter_than_its_addresses_is_dropped() -> None:
    card = Card(loop)
    card.send(FRAME[:13])
    assert (card.net.sent, card.net.dropped) == (0, 1)


# -- the peer


def test_peer_tells_its_address() -> None:
    asked = bytes.fromhex("0001 0800 06 04 0001") + GUEST + bytes((10, 0, 2, 15)) + bytes(6)
    frame = b"\xff" * 6 + GUEST + b"\x08\x06" + asked
    (answer,) = peer.answer(frame + bytes((10, 0, 2, 2)))
    assert answer == GUEST + bytes.fromhex(
        "525500000002 0806 0001 0800 06 04 0002 525500000002 0a000202"
    ) + GUEST + bytes((10, 0, 2, 15))
    assert peer.answer(frame + bytes((10, 0, 2, 3))) == []


PING = bytes.fromhex(
    "4500 0020 0001 4000 40 01 22cc 0a00020f 0a000202"  # a header with a right checksum
    "0800 2104 1234 0001 61626364"
)


def test_peer_answers_a_ping() -> None:
    to_peer = peer.MAC + GUEST + b"\x08\x00"
    (answer,) = peer.answer(to_peer + PING)
    assert answer[:14] == GUEST + peer.MAC + b"\x08\x00"
    assert answer[14 + 12 :][:8] == bytes.fromhex("0a000202 0a00020f")
    echo = answer[34:]
    assert echo == bytes.fromhex("0000 2904 1234 0001 61626364")
    words = [int.from_bytes(answer[14 + n : 16 + n], "big") for n in range(0, 20, 2)]
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        PING[:27],
        PING[:19],
        b"\x46" + PING[1:],
        PING[:6] + b"\x20\0" + PING[8:],
        PING[:9] + b"\x11" + PING[10:],
        PING[:16] + b"\x0a\0\2\3" + PING[20:],
        PING[:20] + b"\0" + PING[21:],
        PING[:2] + b"\xff\xff" + PING[4:],
        PING[:2] + b"\0\x10" + PING[4:],
    ],
)
def test_peer_is_silent_to_everything_else(packet: bytes) -> None:
    assert peer.answer(peer.MAC + GUEST + b"\x08\x00" + packet) == []
