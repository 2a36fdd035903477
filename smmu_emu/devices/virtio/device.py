# SPDX-License-Identifier: GPL-2.0-or-later
"""What virtio devices have in common, whatever transport shows them to the driver.

Spec: Virtual I/O Device 1.2, chapters 2 and 3. Modern devices only: a driver must take
VIRTIO_F_VERSION_1, and VIRTIO_F_ACCESS_PLATFORM too, since all DMA goes through the SMMU. A driver
that breaks a rule makes the device ask for a reset (DEVICE_NEEDS_RESET), and it is told.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.queue import Broken, Chain, SplitQueue
from smmu_emu.port import DmaPort

F_INDIRECT_DESC = 1 << 28
F_VERSION_1 = 1 << 32
F_ACCESS_PLATFORM = 1 << 33
_COMMON = F_INDIRECT_DESC | F_VERSION_1 | F_ACCESS_PLATFORM
_REQUIRED = F_VERSION_1 | F_ACCESS_PLATFORM

USED_BUFFER, CONFIGURATION_CHANGE = 1, 2
"""Reasons for an interrupt."""


class STATUS(Word, bits=8):
    """Device status. Spec: 2.1."""

    ACKNOWLEDGE = Bits(0)
    DRIVER = Bits(1)
    DRIVER_OK = Bits(2)
    FEATURES_OK = Bits(3)
    DEVICE_NEEDS_RESET = Bits(6)
    FAILED = Bits(7)


_DRIVER_OK, _FEATURES_OK = STATUS.mask("DRIVER_OK"), STATUS.mask("FEATURES_OK")
_NEEDS_RESET = STATUS.mask("DEVICE_NEEDS_RESET")


class VirtioDevice:
    """One device. Subclasses answer requests in `serve`, and have a configuration space.

    A transport sets ``changed``, which hears of every change of ``interrupt_status``.
    """

    def __init__(
        self,
        device_id: int,
        features: int,
        queues: int,
        dma: DmaPort,
        report: Report = ignore,
        name: str = "virtio",
    ) -> None:
        self.name = name
        self.device_id = device_id
        self.features = features | _COMMON
        self.dma = dma
        self.report = report
        self.queues = [SplitQueue(dma) for _ in range(queues)]
        self.changed: Callable[[], None] = lambda: None
        self.status = self.driver_features = self.interrupt_status = 0
        self.busy = False
        """Requests are being done: DMA that leads back to this device finds nobody."""

    # -- what a subclass gives

    def serve(self, chain: Chain) -> int | Broken:
        """Do one request; the number of bytes written into its buffers."""
        raise NotImplementedError

    def configuration(self) -> bytes:
        """The device's configuration space."""
        raise NotImplementedError

    # -- what transports call

    def reset(self) -> None:
        """As the driver, or power-on, resets it. Spec: 2.4."""
        self.status = self.driver_features = self.interrupt_status = 0
        for queue in self.queues:
            queue.reset()
        self.changed()

    def power_on(self) -> None:
        """As after power-on; devices with state beside the driver's extend this."""
        self.reset()

    def write_status(self, value: int) -> None:
        """The driver writes the status: 0 resets, other values set bits. Spec: 2.1, 3.1.1."""
        if not value:
            self.reset()
            return
        value &= STATUS.mask() & ~_NEEDS_RESET
        if value & _FEATURES_OK and not self.status & _FEATURES_OK and not self._acceptable():
            value &= ~_FEATURES_OK
        if value & _DRIVER_OK and not (self.status | value) & _FEATURES_OK:
            value &= ~_DRIVER_OK
            self.report(0, "DRIVER_OK without FEATURES_OK")
        self.status |= value
        if self.status & _FEATURES_OK:
            indirect = bool(self.driver_features & F_INDIRECT_DESC)
            for queue in self.queues:
                queue.indirect = indirect

    def _acceptable(self) -> bool:
        """Whether these features can be worked with."""
        alien = self.driver_features & ~self.features
        missing = _REQUIRED & ~self.driver_features
        if alien:
            self.report(0, f"features {alien:#x}, which were not offered")
        if missing:
            self.report(0, f"driver without features {missing:#x}, which it must take")
        return not alien and not missing

    def write_features(self, half: int, value: int) -> None:
        """The driver takes features: ``half`` 0 for the lower 32 bits, 1 for the upper."""
        if self.status & _FEATURES_OK or half > 1:
            return
        others = self.driver_features & ~(0xFFFF_FFFF << 32 * half)
        self.driver_features = others | value << 32 * half

    def notify(self, number: int) -> None:
        """The driver made requests available in a queue: do them all."""
        if not self.status & _DRIVER_OK or self.status & _NEEDS_RESET:
            self.report(0, "notification of a device that is not driven")
            return
        if number >= len(self.queues) or not self.queues[number].ready:
            self.report(0, f"notification of queue {number}, which is not ready")
            return
        self.busy = True
        try:
            done, wrong = self._do_all(self.queues[number])
        finally:
            self.busy = False
        if done and self.queues[number].wants_interrupt:
            self._interrupt(USED_BUFFER)
        if wrong is not None:
            self.ask_for_reset(wrong.reason)

    def _do_all(self, queue: SplitQueue) -> tuple[int, Broken | None]:
        """How many requests were done, and what was wrong with the one after them."""
        for done in range(queue.size):
            chain = queue.take()
            if chain is None:
                return done, None
            wrong = chain if isinstance(chain, Broken) else self._do(queue, chain)
            if wrong is not None:
                return done, wrong
        return queue.size, None

    def _do(self, queue: SplitQueue, chain: Chain) -> Broken | None:
        written = self.serve(chain)
        return written if isinstance(written, Broken) else queue.give_back(chain, written)

    def acknowledge(self, reasons: int) -> None:
        """The driver has seen these reasons for an interrupt."""
        self.interrupt_status &= ~reasons
        self.changed()

    def ask_for_reset(self, why: str) -> None:
        """Nothing more works until the driver resets the device. Spec: 2.1.1."""
        self.report(0, why)
        self.status |= _NEEDS_RESET
        if self.status & _DRIVER_OK:
            self._interrupt(CONFIGURATION_CHANGE)

    def _interrupt(self, reason: int) -> None:
        self.interrupt_status |= reason
        self.changed()
