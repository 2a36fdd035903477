# SPDX-License-Identifier: GPL-2.0-or-later
"""What software says that a stream may reach, kept apart from the tables that should say the same.

Declarations come from `Allow` (a plan, a test) and from the reference driver, whose calls of map,
unmap, attach, bypass and detach are listened to. Damaged tables do not change them. A mapping ends
when the driver's unmap has returned, with its invalidation. Who may write may read as well, as
stage 1 has no other way. What a driver is, is known by its methods: nothing is imported from there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.inject.plan import Allow
from smmu_emu.interpose import Interposition, Layer, interpose

if TYPE_CHECKING:
    from smmu_emu.trace.tracer import Tracer

_READ, _WRITE = 1, 2
"""Of Linux's prot; IOMMU_READ and IOMMU_WRITE."""


class Piece(NamedTuple):
    """Part of an address space: ``size`` bytes at ``iova`` lead to ``pa``."""

    iova: int
    size: int
    pa: int
    prot: int


class Space:
    """What one address space of a driver maps, in order of addresses."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def add(self, iova: int, size: int, pa: int, prot: int) -> None:
        """From now on this is mapped, whatever was there before."""
        self.remove(iova, size)
        index = bisect_right(self._pieces, iova, key=_iova)
        self._pieces.insert(index, Piece(iova, size, pa, prot))

    def remove(self, iova: int, size: int) -> None:
        """From now on nothing is mapped there."""
        kept: list[Piece] = []
        for piece in self._pieces:
            kept += _without(piece, iova, iova + size)
        self._pieces = kept

    def find(self, iova: int) -> Piece | None:
        """The piece that holds an address, or None."""
        index = bisect_right(self._pieces, iova, key=_iova) - 1
        if index < 0:
            return None
        piece = self._pieces[index]
        return piece if iova < piece.iova + piece.size else None

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)


def _iova(piece: Piece) -> int:
    return piece.iova


def _without(piece: Piece, start: int, end: int) -> Iterator[Piece]:
    """What is left of a piece when a range goes."""
    iova, size, pa, prot = piece
    if end <= iova or iova + size <= start:
        yield piece
        return
    if iova < start:
        yield Piece(iova, start - iova, pa, prot)
    if end < iova + size:
        yield Piece(end, iova + size - end, pa + end - iova, prot)


class Mappings:
    """Everything that is declared at the moment; ``declared`` is whether anything ever was."""

    def __init__(self) -> None:
        self.allowed: list[Allow] = []
        self.declared = False
        self._driver: _DriverWatch | None = None
        self._tracer: Tracer | None = None
        self._unit = ""

    def trace_to(self, tracer: Tracer, unit: str) -> None:
        """Tell a tracer of every declaration, as events of kind "mapping" of ``unit``."""
        self._tracer, self._unit = tracer, unit

    def _tell(self, mapped: bool, piece: Piece, **whose: int | None) -> None:
        tracer = self._tracer
        if tracer is None:
            return
        from smmu_emu.trace.events import Mapping

        names = {"stream_id": None, "substream_id": None, "vmid": None, "asid": None} | whose
        iova, size, pa, prot = piece
        tracer.add(
            Mapping(
                seq=0,
                time=0,
                unit=self._unit,
                cause=tracer.causes.find(),
                **names,
                iova=iova,
                pa=None if pa < 0 else pa,
                size=size,
                read=bool(prot & _READ),
                write=bool(prot & _WRITE),
                mapped=mapped,
            )
        )

    def allow(self, *allowances: Allow) -> None:
        """Declare by hand; holds until `forget`."""
        self.allowed += allowances
        for one in allowances:
            start, end = one.iova
            prot = _READ * one.read | _WRITE * one.write
            piece = Piece(start, end - start, -1 if one.pa is None else one.pa, prot)
            self._tell(True, piece, stream_id=one.stream, substream_id=one.substream)
        self.declared = self.declared or bool(allowances)

    def forget(self) -> None:
        """Take back what was declared by hand."""
        self.allowed.clear()
        self.declared = self._driver is not None

    def listen_to(self, driver: Any) -> None:
        """Take the reference driver's word: what it maps from now on, and its streams."""
        if self._driver is not None:
            self._driver.remove()
        self._driver = _DriverWatch(driver, self._tell)
        self.declared = True

    def remove(self) -> None:
        """Stop listening."""
        if self._driver is not None:
            self._driver.remove()
            self._driver = None

    def objection(
        self, stream: int, substream: int | None, iova: int, pa: int, size: int, write: bool
    ) -> str | None:
        """Why DMA must not land at ``pa``; None if it may."""
        if any(_covers(one, stream, substream, iova, pa, size, write) for one in self.allowed):
            return None
        if self._driver is None:
            return "nothing that is declared allows it"
        return self._driver.objection(stream, substream, iova, pa, size, write)

    def objection_to_translated(
        self, stream: int, substream: int | None, iova: int, pa: int, size: int, write: bool
    ) -> str | None:
        """The same for an address that a device says was translated: some mapping leads there."""
        for one in self.allowed:
            start, end = one.iova
            if one.stream == stream and (
                one.pa is None or (one.pa <= pa and pa + size <= one.pa + end - start)
            ):
                return None
        if self._driver is not None and self._driver.reaches(stream, substream, pa, size, write):
            return None
        return "no mapping leads to this translated address"


def _covers(
    one: Allow, stream: int, substream: int | None, iova: int, pa: int, size: int, write: bool
) -> bool:
    start, end = one.iova
    return (
        one.stream == stream
        and one.substream in (None, substream)
        and (one.write if write else one.read)
        and start <= iova
        and iova + size <= end
        and (one.pa is None or pa - one.pa == iova - start)
    )


class _DriverWatch:
    """Listens to one reference driver."""

    def __init__(self, driver: Any, tell: Callable[..., None]) -> None:
        self.driver = driver
        self._tell = tell
        self._spaces: dict[int, tuple[Any, Space]] = {}
        self._bypassing: set[int] = set()
        self._places: list[Interposition] = []
        for name in ("domain", "stage2", "guest"):
            self._stand(driver, name, self._makes)
        self._stand(driver, "bypass", lambda function: self._passes(function, True))
        for name in ("attach", "attach_substreams", "detach"):
            self._stand(driver, name, lambda function: self._passes(function, False))
        for space in driver.domains.values():
            self._know(space)

    def remove(self) -> None:
        for place in self._places:
            place.remove()
        self._places.clear()

    def _stand(self, owner: Any, name: str, wrap: Callable[..., Any]) -> None:
        self._places.append(interpose(owner, name, wrap, Layer.OBSERVE))

    def _makes(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **options: Any) -> Any:
            space = function(*arguments, **options)
            self._know(space)
            return space

        return make

    def _passes(self, function: Callable[..., None], bypassing: bool) -> Callable[..., None]:
        """A stream begins to bypass, or no longer does once the driver has said so."""

        def change(stream_id: int, *rest: Any, **options: Any) -> None:
            if bypassing:
                self._bypassing.add(stream_id)
            function(stream_id, *rest, **options)
            if not bypassing:
                self._bypassing.discard(stream_id)

        return change

    def _know(self, space: Any) -> None:
        if id(space) in self._spaces or not hasattr(space, "map"):
            return
        known = Space()
        self._spaces[id(space)] = space, known
        tags = {"vmid": getattr(space, "vmid", None), "asid": getattr(space, "asid", None)}

        def maps(function: Callable[..., None]) -> Callable[..., None]:
            def map_pages(iova: int, paddr: int, size: int, *prot: Any, **more: Any) -> None:
                rights = prot[0] if prot else more.get("prot", _READ | _WRITE)
                known.add(iova, size, paddr, int(rights))
                try:
                    function(iova, paddr, size, *prot, **more)
                except BaseException:
                    known.remove(iova, size)
                    raise
                self._tell(True, Piece(iova, size, paddr, int(rights)), **tags)

            return map_pages

        def unmaps(function: Callable[..., None]) -> Callable[..., None]:
            def unmap(iova: int, size: int) -> None:
                try:
                    function(iova, size)
                finally:
                    known.remove(iova, size)
                    self._tell(False, Piece(iova, size, -1, 0), **tags)

            return unmap

        self._stand(space, "map", maps)
        self._stand(space, "unmap", unmaps)

    def objection(
        self, stream: int, substream: int | None, iova: int, pa: int, size: int, write: bool
    ) -> str | None:
        if stream in self._bypassing:
            return None if iova == pa else "the stream bypasses translation"
        used = self.driver.domains.get(stream)
        if used is None:
            return "no address space is attached to the stream"
        by_substream = getattr(used, "spaces", None)
        if by_substream is not None:
            used = by_substream.get(substream or 0)
            if used is None:
                return f"substream {substream or 0:#x} has no address space"
        return self._judge(used, iova, pa, size, write)

    def reaches(self, stream: int, substream: int | None, pa: int, size: int, write: bool) -> bool:
        """Whether some address of a stream leads to ``pa``."""
        used = self.driver.domains.get(stream)
        by_substream = getattr(used, "spaces", None)
        if by_substream is not None:
            used = by_substream.get(substream or 0)
        space = getattr(used, "parent", None) or used
        known = self._spaces.get(id(space))
        return known is not None and any(
            piece.pa <= pa
            and pa + size <= piece.pa + piece.size
            and piece.prot & (_WRITE if write else _READ | _WRITE)
            for piece in known[1]
        )

    def _judge(self, space: Any, iova: int, pa: int, size: int, write: bool) -> str | None:
        known = self._spaces.get(id(space))
        piece = None if known is None else known[1].find(iova)
        if piece is None:
            return "the address is not mapped"
        if not piece.prot & (_WRITE if write else _READ | _WRITE):
            return f"it is mapped without {'write' if write else 'read'}"
        leads_to = piece.pa + iova - piece.iova
        if piece.iova + piece.size < iova + size:
            return "it goes past the end of what is mapped"
        parent = getattr(space, "parent", None)
        if parent is not None:
            return self._judge(parent, leads_to, pa, size, write)
        return None if leads_to == pa else f"it is mapped to {leads_to:#x}"
