# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-net: a network card whose frames go through the translation unit, both ways.

Spec: Virtual I/O Device 1.2, 5.1. One pair of queues. What is at the other end of the wire is the
business of a `Backend`; it works in no virtual time, and there is none that leads out of the
machine, so runs repeat. Left out: offloads, merged buffers, control queue, more pairs of queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import pack
from typing import Protocol

from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.queue import Broken, Chain

DEVICE_ID = 1
F_MAC, F_STATUS = 1 << 5, 1 << 16
LINK_UP = 1
RECEIVE, TRANSMIT = 0, 1
"""Queues. Spec: 5.1.2."""
HEADER = 12
"""Bytes of struct virtio_net_hdr. Spec: 5.1.6."""
_ONE_BUFFER = pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1)
LARGEST_FRAME = 65_535
SHORTEST_FRAME = 14
MOST_WAITING = 256
"""Frames that wait for buffers; more are dropped, as on a wire."""
DEFAULT_MAC = bytes.fromhex("525400123456")
"""QEMU's first, too."""


class Backend(Protocol):
    """The other end of the wire: takes a frame, and gives the frames that it answers with."""

    def __call__(self, frame: bytes, /) -> list[bytes]: ...


def unplugged(frame: bytes) -> list[bytes]:
    """Nobody is there."""
    return []


def loop(frame: bytes) -> list[bytes]:
    """Every frame comes back."""
    return [frame]


class VirtioNet(VirtioDevice):
    """One card. ``sent`` and ``received`` count frames, ``dropped`` those without a buffer.

    ``backend`` may be any function from a frame to the frames that it answers with; `receive` is
    for frames that come by themselves.
    """

    def __init__(
        self,
        backend: Backend = unplugged,
        mac: bytes = DEFAULT_MAC,
        report: Report = ignore,
        name: str = "virtio-net",
    ) -> None:
        super().__init__(DEVICE_ID, F_MAC | F_STATUS, 2, report, name)
        self.backend: Callable[[bytes], list[bytes]] = backend
        self.mac = mac
        self.link_up = True
        self.sent = self.received = self.dropped = 0
        self._waiting: deque[bytes] = deque()

    def configuration(self) -> bytes:
        """Spec: 5.1.4."""
        return self.mac + pack("<H", LINK_UP if self.link_up else 0)

    def set_link(self, up: bool) -> None:
        """Plug the wire in, or out; the driver is told."""
        if up != self.link_up:
            self.link_up = up
            self.configuration_changed()

    def receive(self, frame: bytes) -> None:
        """A frame arrives, Ethernet header first and without checksum."""
        if not self.link_up or not self.driven or len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(_ONE_BUFFER + frame)
        self._deliver()

    def work(self, number: int) -> None:
        """Frames to be sent, or buffers for those that arrive."""
        if number == TRANSMIT:
            self.do_all(TRANSMIT, self.serve)
        self._deliver()

    def _deliver(self) -> None:
        waiting = self._waiting
        self.received += self.give(RECEIVE, len(waiting), lambda size: waiting.popleft()[:size])

    def serve(self, chain: Chain) -> int | Broken:
        """Send one frame. Spec: 5.1.6.2."""
        size = chain.readable.size - HEADER
        if size < 0:
            return Broken("a frame without its header")
        frame = chain.readable.read(self.dma, HEADER, min(size, LARGEST_FRAME))
        if frame is None:
            return Broken("a frame cannot be read")
        if self.link_up and SHORTEST_FRAME <= size <= LARGEST_FRAME:
            self.sent += 1
            for answer in self.backend(frame):
                self.receive(answer)
        else:
            self.dropped += 1
        return 0

    def reset(self) -> None:
        """As the driver resets it: what arrived meanwhile is lost."""
        super().reset()
        self._waiting.clear()

    def power_on(self) -> None:
        """As after power-on."""
        super().power_on()
        self.link_up = True
        self.sent = self.received = self.dropped = 0
