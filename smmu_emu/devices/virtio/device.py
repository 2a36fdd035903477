# SPDX-License-Identifier: GPL-2.0-or-later
"""What virtio devices have in common, whatever transport shows them to the driver.

Spec: Virtual I/O Device 1.2, chapters 2 and 3. Modern devices only: a driver must take
VIRTIO_F_VERSION_1. All DMA goes through the SMMU, so VIRTIO_F_ACCESS_PLATFORM is offered; a driver
without it, as boot loaders are, works while the SMMU bypasses its stream. A driver that breaks a
rule makes the device ask for a reset (DEVICE_NEEDS_RESET), and it is told.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.queue import LARGEST, Broken, Chain, SplitQueue
from smmu_emu.errors import ConfigurationError
from smmu_emu.port import DmaPort

F_INDIRECT_DESC = 1 << 28
F_VERSION_1 = 1 << 32
F_ACCESS_PLATFORM = 1 << 33
_COMMON = F_INDIRECT_DESC | F_VERSION_1 | F_ACCESS_PLATFORM
_REQUIRED = F_VERSION_1

USED_BUFFER, CONFIGURATION_CHANGE = 1, 2
"""Reasons for an interrupt."""

Serve = Callable[[Chain], int | Broken]
"""Does one request; the number of bytes written into its buffers."""


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

    A transport calls `connect`, and sets ``changed``, which hears of every change of
    ``interrupt_status``, ``interrupted``, which hears of every interrupt with its reason and queue,
    and ``may_do_dma``.
    """

    def __init__(
        self,
        device_id: int,
        features: int,
        queues: int,
        report: Report = ignore,
        name: str = "virtio",
    ) -> None:
        self.name = name
        self.device_id = device_id
        self.features = features | _COMMON
        self.report = report
        self.queue_count = queues
        self.queues: list[SplitQueue] = []
        self._dma: DmaPort | None = None
        self.changed: Callable[[], None] = lambda: None
        self.interrupted: Callable[[int, int | None], None] = lambda reason, queue: None
        self.may_do_dma: Callable[[], bool] = lambda: True
        self.status = self.driver_features = self.interrupt_status = 0
        self.generation = 0
        """Counts changes of the configuration space, modulo 256. Spec: 2.5.1."""
        self.busy = False
        """Requests are being done: DMA that leads back to this device finds nobody."""

    # -- what a subclass gives

    def serve(self, chain: Chain) -> int | Broken:
        """Do one request; the number of bytes written into its buffers."""
        raise NotImplementedError

    def configuration(self) -> bytes:
        """The device's configuration space."""
        raise NotImplementedError

    def work(self, number: int) -> None:
        """Something is available in a queue that is ready: by default `serve` all of it."""
        self.do_all(number, self.serve)

    def close(self) -> None:
        """Let go of files. Harmless when done already."""

    # -- what transports call

    def connect(self, dma: DmaPort) -> None:
        """Take a way into memory."""
        self._dma = dma
        self.queues = [SplitQueue(dma) for _ in range(self.queue_count)]

    @property
    def dma(self) -> DmaPort:
        """The way into memory, through the translation unit.

        Raises: ConfigurationError while the device has no transport.
        """
        if self._dma is None:
            raise ConfigurationError(f"{self.name} has no transport yet: put it behind one")
        return self._dma

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
        """The driver made something available in a queue."""
        if not self.driven:
            self.report(0, "notification of a device that is not driven")
        elif number >= len(self.queues) or not self.queues[number].ready:
            self.report(0, f"notification of queue {number}, which is not ready")
        elif not self.may_do_dma():
            self.report(0, "notification of a device that may not be bus master")
        else:
            self.work(number)

    @property
    def driven(self) -> bool:
        """Whether a driver is at work, and has not broken a rule."""
        return self.status & (_DRIVER_OK | _NEEDS_RESET) == _DRIVER_OK

    def do_all(self, number: int, serve: Serve, most: int = LARGEST) -> int:
        """Do the requests of a queue, ``most`` of them, and tell the driver; how many were done."""
        queue = self.queues[number]
        self.busy = True
        try:
            done, wrong = _do_all(queue, serve, min(most, queue.size))
        finally:
            self.busy = False
        if done and queue.wants_interrupt:
            self._interrupt(USED_BUFFER, number)
        if wrong is not None:
            self.ask_for_reset(wrong.reason)
        return done

    def give(self, number: int, most: int, take: Callable[[int], bytes]) -> int:
        """Fill ``most`` buffers that the driver offered in a queue; how many there were.

        ``take`` gives what goes into a buffer of so many bytes.
        """
        if not most or self.busy or not self.driven or not self.queues[number].ready:
            return 0
        if not self.may_do_dma():
            return 0
        return self.do_all(number, lambda chain: _fill(self.dma, chain, take), most)

    def acknowledge(self, reasons: int) -> None:
        """The driver has seen these reasons for an interrupt."""
        self.interrupt_status &= ~reasons
        self.changed()

    def ask_for_reset(self, why: str) -> None:
        """Nothing more works until the driver resets the device. Spec: 2.1.1."""
        self.report(0, why)
        self.status |= _NEEDS_RESET
        if self.status & _DRIVER_OK:
            self._interrupt(CONFIGURATION_CHANGE, None)

    def configuration_changed(self) -> None:
        """Tell the driver to read the configuration space again. Spec: 2.5.1."""
        self.generation = self.generation + 1 & 0xFF
        if self.driven:
            self._interrupt(CONFIGURATION_CHANGE, None)

    def _interrupt(self, reason: int, queue: int | None) -> None:
        self.interrupt_status |= reason
        self.changed()
        self.interrupted(reason, queue)


def _do_all(queue: SplitQueue, serve: Serve, most: int) -> tuple[int, Broken | None]:
    """How many requests were done, and what was wrong with the one after them."""
    for done in range(most):
        chain = queue.take()
        if chain is None:
            return done, None
        wrong = chain if isinstance(chain, Broken) else _do(queue, chain, serve)
        if wrong is not None:
            return done, wrong
    return most, None


def _do(queue: SplitQueue, chain: Chain, serve: Serve) -> Broken | None:
    written = serve(chain)
    return written if isinstance(written, Broken) else queue.give_back(chain, written)


def _fill(dma: DmaPort, chain: Chain, take: Callable[[int], bytes]) -> int | Broken:
    data = take(chain.writable.size)
    if not chain.writable.write(dma, 0, data):
        return Broken("a buffer cannot be written")
    return len(data)
