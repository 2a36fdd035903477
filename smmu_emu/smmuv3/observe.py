# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to the traffic of an SMMU, told to listeners while there are any.

Spec: IHI 0070 10.3 (what each event counts). The translation path knows nothing of this: while
somebody listens, observing functions stand before those of the parts that traffic passes through
and of the walkers' ports. When the last listener leaves, all is as it was before. Batches notice
that the walker's port is not plain and go one by one meanwhile.

Choices that 10.3 leaves open: transactions and requests that are terminated are included, and so
are those that pass while SMMUEN is 0; a stalled transaction that is retried is told of as a new
one. Outside of a transaction or request, accesses alone are told of, not misses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from smmu_emu.ats import TranslationRequest
from smmu_emu.interpose import Interposition, Layer, Wrap, interpose
from smmu_emu.smmuv3.context import Context, Stream
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.pmcg import MonitorEvent
from smmu_emu.tlb import Entry
from smmu_emu.transaction import Fault, Transaction

Listener = Callable[[MonitorEvent, int], None]
"""Told of an event and the StreamID that it belongs to."""

_Incoming = TypeVar("_Incoming", Transaction, TranslationRequest)


class Observation:
    """The observation of one SMMU; ``listeners`` hear of every event but clock cycles."""

    def __init__(self, smmu: Smmuv3) -> None:
        self.smmu = smmu
        self.listeners: list[Listener] = []
        self._incoming: Transaction | TranslationRequest | None = None
        self._stream_id = 0
        self._tlb_missed = False
        self._config_missed = False
        self._places: list[Interposition] = []

    def add(self, listener: Listener) -> None:
        """Tell ``listener`` from now on."""
        if not self.listeners:
            self._install()
        self.listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Undo `add`."""
        self.listeners.remove(listener)
        if not self.listeners:
            self._uninstall()

    def tell(self, event: MonitorEvent) -> None:
        """Something happened for the stream that is being served."""
        for listener in tuple(self.listeners):  # an overflow's message may switch counters off
            listener(event, self._stream_id)

    # -- installation

    def _install(self) -> None:
        smmu = self.smmu
        stages, configuration, ats, path = smmu.stages, smmu.configuration, smmu.ats, smmu.path
        translate = self._arrival(MonitorEvent.TRANSACTION)
        request = self._arrival(MonitorEvent.TRANSACTION, MonitorEvent.ATS_REQUEST)
        passed = self._arrival(MonitorEvent.TRANSACTION, MonitorEvent.ATS_TRANSLATED)
        places: list[tuple[object, str, Wrap]] = [
            (smmu, "translate", translate),
            (path, "translate", translate),
            (ats, "request", request),
            (ats, "translated", passed),
            (stages, "make_entry", self._make_entry),
            (stages, "cd_address", self._cd_address),
            (configuration, "find_stream", self._find_stream),
        ]
        for port, event in (
            (stages.port, MonitorEvent.WALK_ACCESS),
            (configuration.port, MonitorEvent.CONFIG_ACCESS),
        ):
            access = self._access(event)
            places += [(port, name, access) for name in _ACCESSES]
        self._places = [interpose(*place, Layer.OBSERVE) for place in places]

    def _uninstall(self) -> None:
        for place in self._places:
            place.remove()
        self._places.clear()

    # -- observing functions

    def _arrival(self, *events: MonitorEvent) -> Wrap:
        """Something comes in to be served; while that lasts, all belongs to its stream."""

        def wrap(serve: Callable[[_Incoming], object]) -> Callable[[_Incoming], object]:
            def observed(incoming: _Incoming) -> object:
                if incoming is self._incoming:
                    return serve(incoming)  # the path starts over once deferred entries are made
                outer = self._incoming, self._stream_id, self._tlb_missed, self._config_missed
                self._incoming, self._stream_id = incoming, incoming.stream_id
                self._tlb_missed = self._config_missed = False
                try:
                    for event in events:
                        self.tell(event)
                    return serve(incoming)
                finally:
                    self._incoming, self._stream_id, self._tlb_missed, self._config_missed = outer

            return observed

        return wrap

    def _make_entry(
        self, make_entry: Callable[[Transaction, Context, int, int], Entry | Fault]
    ) -> Callable[[Transaction, Context, int, int], Entry | Fault]:
        """The TLB does not have what is needed: one miss, however often it is tried."""

        def observed(
            transaction: Transaction, context: Context, iova: int, kind: int
        ) -> Entry | Fault:
            self._stream_id = transaction.stream_id
            if self._incoming is not None and not self._tlb_missed:
                self._tlb_missed = True
                self.tell(MonitorEvent.TLB_MISS)
            return make_entry(transaction, context, iova, kind)

        return observed

    def _find_stream(
        self, find_stream: Callable[[Transaction], Stream | Fault]
    ) -> Callable[[Transaction], Stream | Fault]:
        """Page requests look for streams too: their accesses belong to a stream."""
        configuration = self.smmu.configuration

        def observed(transaction: Transaction) -> Stream | Fault:
            self._stream_id = transaction.stream_id
            if transaction.stream_id not in configuration.streams:
                self._configuration_missed()
            return find_stream(transaction)

        return observed

    def _cd_address(
        self, cd_address: Callable[[Stream, Transaction, int], int | Fault]
    ) -> Callable[[Stream, Transaction, int], int | Fault]:
        """Whoever asks where a CD is does not have it."""

        def observed(stream: Stream, transaction: Transaction, pointer: int) -> int | Fault:
            self._configuration_missed()
            return cd_address(stream, transaction, pointer)

        return observed

    def _configuration_missed(self) -> None:
        if self._incoming is not None and not self._config_missed:
            self._config_missed = True
            self.tell(MonitorEvent.CONFIG_MISS)

    def _access(self, event: MonitorEvent) -> Wrap:
        """A walker reads or writes memory."""

        def wrap(access: Callable[..., object]) -> Callable[..., object]:
            def observed(*arguments: object) -> object:
                self.tell(event)
                return access(*arguments)

            return observed

        return wrap


_ACCESSES = ("read", "read_u64", "write", "write_u64")
