# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream table entries and context descriptors under trace: fetched, cached, dropped.

Spec: IHI 0070 3.3.1, 3.3.2, 4.3, 16.2. A context without CD goes under the number of its STE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from smmu_emu.interpose import Function
from smmu_emu.smmuv3.context import Context, Stream
from smmu_emu.smmuv3.spec.cd import CD, CD_SIZE
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.ste import STE_SIZE
from smmu_emu.trace.events import ConfigFetch, ConfigInvalidation
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

_EVERYTHING = 1 << 32
_KINDS = ("config-fetch", "config-invalidation", "access")


class ConfigTracing:
    """Tells of one configuration cache."""

    unsaved = ("unit", "cache", "_structure", "_index", "_stream_id", "_read", "_cd", "_inside")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self.cache = unit.smmu.configuration
        self._structure = ""
        self._index: int | None = None
        self._stream_id = 0
        self._read: tuple[int, bytes] | None = None
        self._cd = 0
        self._inside = False

    def places(self) -> Iterator[Place]:
        tracer = self.unit.tracer
        if not tracer.wants(*_KINDS):
            return
        yield self.cache, "lookup", self._lookup
        yield self.cache, "fetch_ste", self._fetch_ste
        yield self.cache, "fetch_cd", self._fetch_cd
        yield self.cache.port, "read", self._structure_read
        yield self.cache.port, "read_u64", self._pointer_read
        if tracer.wants("config-invalidation"):
            for name, what in (("drop_ste", "STE"), ("drop_cds", "CDs"), ("drop_cd", "CD")):
                yield self.cache, name, self._drop(what)
            yield self.cache, "drop_ste_range", self._drop("STE")

    def tell_cached(self) -> None:
        """Number what is cached and has none, and tell of it as though it were fetched now, from
        nowhere."""
        if not self.unit.tracer.wants(*_KINDS):
            return
        numbers = self.unit.configs
        for stream_id, stream in self.cache.streams.items():
            if stream in numbers:
                continue
            numbers[stream] = self.unit.next_number()
            self._stream_id, self._structure, self._index = stream_id, "STE", None
            self._tell(0, stream.ste.to_bytes(), numbers[stream])
        for key, context in self.cache.contexts.items():
            if context in numbers:
                continue
            self._stream_id = key & _EVERYTHING - 1
            self._structure, self._index = "CD", (key >> 32) - 1 if key >> 32 else None
            if context.stage1 is None:
                numbers[context] = numbers[context.stream]
            else:
                numbers[context] = self.unit.next_number()
                self._tell(0, b"", numbers[context])

    # -- fetches

    def _lookup(
        self, lookup: Callable[..., Context | Fault]
    ) -> Callable[[Transaction, Any], Context | Fault]:
        def observed(transaction: Transaction, translate: Any) -> Context | Fault:
            outer, self._cd = self._cd, 0
            found = lookup(transaction, translate)
            number, self._cd = self._cd, outer
            if isinstance(found, Context) and found not in self.unit.configs:
                self.unit.configs[found] = number or self.unit.configs.get(found.stream, 0)
            return found

        return observed

    def _fetch_ste(
        self, fetch: Callable[[Transaction], Stream | Fault]
    ) -> Callable[[Transaction], Stream | Fault]:
        def observed(transaction: Transaction) -> Stream | Fault:
            self._begin("STE", transaction.stream_id, None)
            found = fetch(transaction)
            number = 0
            if isinstance(found, Stream):
                number = self.unit.configs[found] = self.unit.next_number()
            self._end("STE", number)
            return found

        return observed

    def _fetch_cd(
        self, fetch: Callable[[Stream, Transaction, int, Any], CD | Fault]
    ) -> Callable[[Stream, Transaction, int, Any], CD | Fault]:
        def observed(
            stream: Stream, transaction: Transaction, index: int, translate: Any
        ) -> CD | Fault:
            self._begin("CD", transaction.stream_id, transaction.substream_id)
            found = fetch(stream, transaction, index, translate)
            number = 0
            if not isinstance(found, Fault):
                number = self._cd = self.unit.next_number()
            self._end("CD", number)
            return found

        return observed

    def _begin(self, structure: str, stream_id: int, substream_id: int | None) -> None:
        self._structure, self._stream_id, self._index = structure, stream_id, substream_id
        self._read = None

    def _end(self, structure: str, number: int) -> None:
        """Tell of the structure itself, now that it is known whether it is cached."""
        if self._read is not None:
            self._structure = structure
            self._tell(*self._read, number)
            self._read = None

    def _structure_read(
        self, read: Callable[[int, int], bytes | None]
    ) -> Callable[[int, int], bytes | None]:
        assert STE_SIZE == CD_SIZE

        def observed(pa: int, size: int) -> bytes | None:
            data = read(pa, size)
            self._read = (pa, data or b"")
            return data

        return observed

    def _pointer_read(self, read_u64: Callable[[int], int | None]) -> Callable[[int], int | None]:
        def observed(pa: int) -> int | None:
            value = read_u64(pa)
            structure = self._structure
            self._structure = "L1STD" if structure == "STE" else "L1CD"
            self._tell(pa, b"" if value is None else value.to_bytes(8, "little"), 0)
            self._structure = structure
            return value

        return observed

    def _tell(self, pa: int, data: bytes, entry: int) -> None:
        unit = self.unit
        if unit.tracer.wants("config-fetch"):
            unit.tracer.emit(
                ConfigFetch(
                    *unit.head(),
                    self._structure,
                    self._stream_id,
                    self._index,
                    pa,
                    data,
                    entry,
                )
            )

    # -- invalidation

    def _drop(self, what: str) -> Callable[[Function], Function]:
        """Stands before one of the cache's functions that forget; the outermost tells."""

        def wrap(drop: Function) -> Function:
            def observed(stream_id: int, *more: int, **how: bool) -> None:
                if self._inside:
                    drop(stream_id, *more, **how)
                    return
                command = self.unit.control.begin_effect()
                before = self._numbers()
                self._inside = True
                try:
                    drop(stream_id, *more, **how)
                finally:
                    self._inside = False
                removed = self._forgotten(before)
                streams = more[0] if what == "STE" and more else 1
                index = more[0] if what == "CD" else None
                self._tell_drop(command, what, stream_id, streams, index, removed)

            return observed

        return wrap

    def _numbers(self) -> dict[Stream | Context, int]:
        return self.unit.configs.copy()

    def _forgotten(self, before: dict[Stream | Context, int]) -> tuple[int, ...]:
        """Numbers of what is not cached any more."""
        alive = {*self.cache.streams.values(), *self.cache.contexts.values()}
        self.unit.configs = {one: number for one, number in before.items() if one in alive}
        kept = set(self.unit.configs.values())
        return tuple(sorted(set(before.values()) - kept))

    def _tell_drop(
        self,
        command: int,
        what: str,
        stream_id: int,
        streams: int,
        index: int | None,
        removed: tuple[int, ...],
    ) -> None:
        unit = self.unit
        data = unit.control.data
        if not data and not removed:
            return
        name = Opcode(data[0]).name if data else ""
        unit.tracer.emit(
            ConfigInvalidation(
                *unit.head(), command, name, what, stream_id, streams, index, removed
            )
        )
