# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-console: text out, keys in."""

from __future__ import annotations

from smmu_emu.devices.virtio.console import VirtioConsole
from smmu_emu.devices.virtio.pci import VirtioPci
from tests.unit.devices.virtio.pci_rig import DATA, DEVICE, WRITE, PciDriver

ROOM = DATA + 0x8000


class Terminal(PciDriver):
    """A console at work; ``shown`` is what its sink got."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.console = VirtioConsole(sink=self.shown.append)
        super().__init__(lambda report: VirtioPci(self.console, 0x078000, report))
        self.start()

    def say(self, text: bytes) -> None:
        self.memory.write(DATA, text)
        self.describe(1, (DATA, len(text), 0, 0))
        self.offer(1, 0)

    def give_room(self, *sizes: int) -> None:
        rows = [(ROOM + 0x1000 * n, size, WRITE, 0) for n, size in enumerate(sizes)]
        self.describe(0, *rows)
        self.offer(0, *range(len(sizes)))


def test_identity_and_size_are_shown() -> None:
    terminal = Terminal()
    assert terminal.config_read(0, 4) == 0x1043_1AF4
    assert (terminal.get(DEVICE, 2), terminal.get(DEVICE + 2, 2)) == (80, 25)
    assert terminal.features() == 0x3_1000_0001


def test_text_is_kept_and_shown() -> None:
    terminal = Terminal()
    terminal.say(b"hello, ")
    terminal.say(b"console\n")
    assert terminal.console.output == b"hello, console\n"
    assert terminal.shown == [b"hello, ", b"console\n"]
    assert terminal.used(1) == [(0, 0)] * 2
    assert terminal.message(2) == 0xC0DE_0002


def test_keys_wait_for_room_and_fill_what_there_is() -> None:
    terminal = Terminal()
    terminal.console.feed(b"abcdefg")
    assert terminal.used(0) == []
    terminal.give_room(3, 64, 64)
    assert terminal.used(0) == [(0, 3), (1, 4)]
    assert terminal.read(ROOM, 3) + terminal.read(ROOM + 0x1000, 4) == b"abcdefg"
    terminal.console.feed(b"h")
    assert terminal.used(0)[2:] == [(2, 1)]


def test_buffers_without_room_lose_nothing() -> None:
    terminal = Terminal()
    terminal.console.feed(b"x")
    terminal.give_room(0, 0, 8)
    assert terminal.used(0) == [(0, 0), (1, 0), (2, 1)]
    assert terminal.read(ROOM + 0x2000, 1) == b"x"


def test_power_on_forgets_text_and_keys() -> None:
    terminal = Terminal()
    terminal.say(b"old")
    terminal.console.feed(b"old")
    terminal.host.reset()
    terminal.open()
    terminal.start()
    terminal.give_room(8)
    assert (terminal.console.output, terminal.used(0)) == (b"", [])
