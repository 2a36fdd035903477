# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-console: a console without registers for characters, Linux's ``hvc0``.

Spec: Virtual I/O Device 1.2, 5.3. One port. Left out: more ports, sizes that change, and emergency
writes.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.queue import Broken, Chain

DEVICE_ID = 3
F_SIZE = 1 << 0
COLUMNS, ROWS = 80, 25
RECEIVE, TRANSMIT = 0, 1
"""Queues. Spec: 5.3.2."""
LARGEST_WRITE = 1 << 20


class VirtioConsole(VirtioDevice):
    """One console: ``output`` is what the guest printed, ``sink`` takes it while it is printed.

    ``stdio`` asks the board to let it be the console that people see and type on.
    """

    unsaved = ("sink",)

    def __init__(
        self,
        stdio: bool = False,
        sink: Callable[[bytes], None] | None = None,
        report: Report = ignore,
        name: str = "virtio-console",
    ) -> None:
        super().__init__(DEVICE_ID, F_SIZE, 2, report, name)
        self.stdio = stdio
        self.sink = sink
        self.output = bytearray()
        self._typed = bytearray()

    def configuration(self) -> bytes:
        """Spec: 5.3.4."""
        return pack("<HHII", COLUMNS, ROWS, 1, 0)

    def feed(self, data: bytes) -> None:
        """Type on the console; what the guest has no room for waits."""
        self._typed += data
        self._deliver()

    def _deliver(self) -> None:
        while self._typed and self.give(RECEIVE, 1, self._take):
            pass

    def _take(self, size: int) -> bytes:
        taken = bytes(self._typed[:size])
        del self._typed[:size]
        return taken

    def work(self, number: int) -> None:
        """Text to be printed, or room for what is typed."""
        if number == TRANSMIT:
            self.do_all(TRANSMIT, self.serve)
        self._deliver()

    def serve(self, chain: Chain) -> int | Broken:
        """Print. Spec: 5.3.6."""
        data = chain.readable.read(self.dma, 0, min(chain.readable.size, LARGEST_WRITE))
        if data is None:
            return Broken("text cannot be read")
        self.output += data
        if self.sink is not None:
            self.sink(data)
        return 0

    def power_on(self) -> None:
        """As after power-on."""
        super().power_on()
        self.output.clear()
        self._typed.clear()
