# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies for hypothesis: page tables, streams, transactions, drivers' operations, faults.

    from hypothesis import given
    from smmu_emu.testing import strategies

    @given(strategies.driver_operations())
    def test_...(operations):
        ...

Everything drawn is legal, unless a docstring says otherwise: what is to be broken is broken by
faults, which are drawn as well. hypothesis is needed (``pip install smmu-emu[test]``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from pgtable import Arena, PageTableConfig, PgtableError, Prot, alloc
from smmu_emu.inject import Abort, Drop, Duplicate, Effect, Flip, Injection, Plan, Replace, When
from smmu_emu.inject.sites import SITES
from smmu_emu.transaction import Transaction

if TYPE_CHECKING:
    from smmu_emu.driver import Domain
    from smmu_emu.testing.machine import MachineUnderTest

KIB_4, KIB_16, KIB_64 = 1 << 12, 1 << 14, 1 << 16
_GRANULES = {
    KIB_4: KIB_4 | 1 << 21 | 1 << 30,
    KIB_16: KIB_16 | 1 << 25,
    KIB_64: KIB_64 | 1 << 29,
}
_OUTPUTS = (32, 36, 40, 42, 44, 48)


# -- page tables


class TableSetup(NamedTuple):
    """A format by its name in `pgtable.formats`, and a configuration that it accepts."""

    fmt: str
    config: PageTableConfig


class MapCall(NamedTuple):
    """Arguments of `pgtable.PageTable.map`, in bytes; they fit the table that they were drawn
    for."""

    iova: int
    paddr: int
    size: int
    prot: Prot


_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, int], tuple[int, ...]]] = {
    "ARM_64_LPAE_S1": (tuple(_GRANULES.values()), (25, 48), _OUTPUTS),
    "ARM_64_LPAE_S2": (tuple(_GRANULES.values()), (32, 48), _OUTPUTS),
    "ARM_32_LPAE_S1": ((_GRANULES[KIB_4],), (25, 32), (32, 36, 40)),
    "ARM_32_LPAE_S2": ((_GRANULES[KIB_4],), (32, 40), (32, 36, 40)),
    "ARM_MALI_LPAE": ((_GRANULES[KIB_4],), (40, 48), (40,)),
    "ARM_V7S": ((KIB_4 | KIB_64 | 1 << 20 | 1 << 24,), (25, 32), (32,)),
    "APPLE_DART": ((KIB_4, KIB_16), (32, 36), (36,)),
    "APPLE_DART2": ((KIB_16,), (36, 42), (42,)),
}
"""Page sizes, the least and the most input bits, output bits: of each format."""
FORMATS = tuple(_SIZES)


@st.composite
def page_table_setups(draw: st.DrawFn, formats: tuple[str, ...] = FORMATS) -> TableSetup:
    """A format, and a configuration with any of its granules and address sizes."""
    fmt = draw(st.sampled_from(formats))
    bitmaps, (least, most), outputs = _SIZES[fmt]
    made = st.builds(
        PageTableConfig,
        pgsize_bitmap=st.sampled_from(bitmaps),
        ias=st.integers(least, most),
        oas=st.sampled_from(outputs),
        coherent_walk=st.booleans(),
    )
    return TableSetup(fmt, draw(made.filter(lambda config: _is_accepted(fmt, config))))


def _is_accepted(fmt: str, config: PageTableConfig) -> bool:
    """Some pairs of address sizes have no table, by the architecture."""
    try:
        alloc(fmt, config, memory=Arena(0x8000_0000, 1 << 20)).close()
    except PgtableError:
        return False
    return True


@st.composite
def tables(draw: st.DrawFn, setup: TableSetup, most: int = 8) -> list[MapCall]:
    """At most ``most`` mappings that do not overlap, of every page size of a configuration."""
    config = setup.config
    bits = range(config.pgsize_bitmap.bit_length())
    sizes = [1 << bit for bit in bits if config.pgsize_bitmap >> bit & 1 and bit < config.ias]
    calls: list[MapCall] = []
    for _ in range(draw(st.integers(1, most))):
        page = draw(st.sampled_from(sizes))
        count = draw(st.integers(1, 4))
        room = (1 << config.ias) // page
        first = draw(st.integers(0, max(0, room - count)))
        size = page * min(count, room)
        iova = first * page
        if any(iova < one.iova + one.size and one.iova < iova + size for one in calls):
            continue
        slots = max(1, ((1 << config.oas) - size) // page)
        paddr = draw(st.integers(0, slots - 1)) * page
        calls.append(MapCall(iova, paddr, size, draw(protections)))
    return calls


protections = st.sampled_from(
    [
        Prot.READ,
        Prot.READ | Prot.WRITE,
        Prot.READ | Prot.WRITE | Prot.CACHE,
        Prot.READ | Prot.NOEXEC,
        Prot.READ | Prot.WRITE | Prot.PRIV,
    ]
)
"""What a mapping may allow."""


# -- streams and transactions


stream_ids = st.one_of(st.integers(0, 15), st.integers(0, 0xFF))
"""StreamIDs of the reference driver's stream table, small ones more often."""
substream_ids = st.one_of(st.none(), st.integers(0, 15))
"""SubstreamIDs, or none."""


def transactions(
    streams: st.SearchStrategy[int] = stream_ids,
    substreams: st.SearchStrategy[int | None] = substream_ids,
    around: tuple[int, ...] = (0x10000,),
) -> st.SearchStrategy[Transaction]:
    """Transactions of every kind; most addresses are within 16 KiB of one of ``around``."""
    near = st.builds(
        lambda base, offset: base + offset & (1 << 64) - 1,
        st.sampled_from(around),
        st.integers(-0x4000, 0x4000),
    )
    return st.builds(
        Transaction,
        stream_id=streams,
        iova=st.one_of(near, near, near, st.integers(0, (1 << 64) - 1)),
        write=st.booleans(),
        privileged=st.booleans(),
        instruction=st.booleans(),
        substream_id=substreams,
    )


# -- what drivers do


@dataclass(frozen=True)
class Operation:
    """One thing that a driver or its device does: "map", "unmap", "attach", "detach", "bypass",
    "write" or "read".

    ``space`` numbers the address spaces, ``page`` the 4 KiB pages of a window of `PAGES`.
    """

    kind: str
    space: int
    stream: int
    page: int
    count: int


PAGES = 64
SPACES = 3
WINDOW = 0x10_0000
"""Where the pages of all address spaces begin."""
MEMORY = 0x5000_0000
"""Where the first address space's pages lead; each has `PAGES` of its own."""


def operations() -> st.SearchStrategy[Operation]:
    """One operation; whether it can be done depends on those before."""
    kinds = ["map"] * 4 + ["unmap"] * 2 + ["attach", "detach", "bypass"] + ["write", "read"] * 3
    return st.builds(
        Operation,
        kind=st.sampled_from(kinds),
        space=st.integers(0, SPACES - 1),
        stream=st.integers(8, 10),
        page=st.integers(0, PAGES - 1),
        count=st.integers(1, 4),
    )


def driver_operations(most: int = 30) -> st.SearchStrategy[list[Operation]]:
    """Operations in a row, for `Player`."""
    return st.lists(operations(), max_size=most)


class Player:
    """Does operations with a machine's reference driver; what cannot be done is left out.

    `play` gives what DMA got: True, False for an abort, None for what is no DMA.
    """

    def __init__(self, machine: MachineUnderTest) -> None:
        self.machine = machine
        self.driver = machine.driver or machine.attach_driver()
        self.spaces: list[Domain] = [self.driver.domain() for _ in range(SPACES)]
        self.mapped: list[set[int]] = [set() for _ in range(SPACES)]

    def play(self, operation: Operation) -> bool | None:
        """Do one operation."""
        kind, stream = operation.kind, operation.stream
        if kind in ("map", "unmap"):
            self._change(operation)
        elif kind == "attach":
            self.driver.attach(stream, self.spaces[operation.space])
        elif kind == "detach":
            self.driver.detach(stream)
        elif kind == "bypass":
            self.driver.bypass(stream)
        else:
            return self._move(operation)
        return None

    def _change(self, operation: Operation) -> None:
        space, mapped = self.spaces[operation.space], self.mapped[operation.space]
        last = min(operation.page + operation.count, PAGES)
        for page in range(operation.page, last):
            iova = WINDOW + page * KIB_4
            if operation.kind == "map" and page not in mapped:
                space.map(iova, self.home(operation.space, page), KIB_4)
                mapped.add(page)
            elif operation.kind == "unmap" and page in mapped:
                space.unmap(iova, KIB_4)
                mapped.discard(page)

    def _move(self, operation: Operation) -> bool:
        dma = self.machine.dma(operation.stream)
        iova = WINDOW + operation.page * KIB_4
        if operation.kind == "write":
            return dma.write(iova, b"player")
        return dma.read(iova, 6) is not None

    @staticmethod
    def home(space: int, page: int) -> int:
        """Where a page of an address space leads."""
        return MEMORY + (space * PAGES + page) * KIB_4


# -- faults


def injections(
    sites: tuple[str, ...] = ("walk-read", "config-fetch"),
) -> st.SearchStrategy[Injection]:
    """Faults at some sites, of the effects that they share: `Plan` takes them together."""

    def effects(site: str) -> st.SearchStrategy[Effect]:
        known: dict[str, st.SearchStrategy[Effect]] = {
            "abort": st.just(Abort()),
            "flip": st.integers(1, 3).map(lambda count: Flip(count=count)),
            "replace": st.integers(0, (1 << 64) - 1).map(Replace),
            "drop": st.just(Drop()),
            "duplicate": st.integers(1, 3).map(Duplicate),
        }
        return st.one_of(*(known[name] for name in SITES[site].effects if name in known))

    return st.sampled_from(sites).flatmap(
        lambda site: st.builds(
            Injection,
            site=st.just(site),
            effect=effects(site),
            when=st.builds(When, nth=st.integers(1, 12), times=st.integers(1, 3)),
        )
    )


def plans(
    sites: tuple[str, ...] = ("walk-read", "config-fetch"), most: int = 3
) -> st.SearchStrategy[Plan]:
    """Plans of one fault or several."""
    return st.builds(
        Plan,
        faults=st.lists(injections(sites), min_size=1, max_size=most).map(tuple),
        seed=st.integers(0, 1 << 16),
    )
