# SPDX-License-Identifier: GPL-2.0-or-later
"""What a TLB invalidation was meant for, and why an entry at the same addresses stayed.

Spec: IHI 0070 4.4. The reasons are those of `smmu_emu.trace.events.Invalidation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smmu_emu.smmuv3.context import Tag, World
from smmu_emu.smmuv3.spec.command import Opcode, TlbInvalidate
from smmu_emu.tlb import Entry, InvalidateScope, Space, Tlb, WalkCache

_WORLDS = {
    Opcode.TLBI_NH_ALL: "EL1",
    Opcode.TLBI_NH_ASID: "EL1",
    Opcode.TLBI_NH_VA: "EL1",
    Opcode.TLBI_NH_VAA: "EL1",
    Opcode.TLBI_EL2_ALL: "EL2",
    Opcode.TLBI_EL2_ASID: "EL2_E2H",
    Opcode.TLBI_S12_VMALL: "EL1+S2",
    Opcode.TLBI_S2_IPA: "S2",
    Opcode.TLBI_NSNH_ALL: "EL1+S2",
}
"""Which translations a command is for; those by address of EL2 depend on CR2.E2H."""
_REACHED = {
    "EL1": (World.EL1, World.EL1_NESTED),
    "EL2": (World.EL2, World.EL2_E2H),
    "EL2_E2H": (World.EL2_E2H,),
    "S2": (World.S2,),
    "EL1+S2": (World.EL1, World.EL1_NESTED, World.S2),
}
_EVERY_VMID = frozenset(
    {
        *(Opcode.TLBI_NSNH_ALL, Opcode.TLBI_EL2_ALL, Opcode.TLBI_EL2_ASID),
        *(Opcode.TLBI_EL2_VA, Opcode.TLBI_EL2_VAA),
    }
)
_BY_ASID = frozenset(
    {Opcode.TLBI_NH_ASID, Opcode.TLBI_NH_VA, Opcode.TLBI_EL2_ASID, Opcode.TLBI_EL2_VA}
)


class Reach(NamedTuple):
    """What a TLBI names: None is any. ``worlds`` are those of tags; ``world`` says it in a word."""

    name: str
    world: str
    worlds: tuple[World, ...]
    vmid: int | None
    asid: int | None
    scope: InvalidateScope | None
    leaf: bool
    spares_global: bool


def reach_of(data: bytes, el2_world: str, scope: InvalidateScope | None, leaf: bool) -> Reach:
    """The reach of a command (16 bytes); of somebody's own invalidation if there is none.

    ``el2_world`` is the EL2 regime that CR2.E2H selects.
    """
    opcode = data[0] if data else 0
    if opcode not in _TLBI:
        return Reach("", "", tuple(World), None, None, scope, leaf, False)
    fields = TlbInvalidate(int.from_bytes(data, "little"))
    world = _WORLDS.get(Opcode(opcode), el2_world)
    by_address_of_el2 = opcode in (Opcode.TLBI_EL2_VA, Opcode.TLBI_EL2_VAA)
    return Reach(
        Opcode(opcode).name,
        world,
        (World[world],) if by_address_of_el2 else _REACHED[world],
        None if opcode in _EVERY_VMID else fields.VMID,
        fields.ASID if opcode in _BY_ASID and world != "EL2" else None,
        scope,
        leaf,
        opcode in (Opcode.TLBI_NH_ASID, Opcode.TLBI_EL2_ASID),
    )


_TLBI = frozenset(one.value for one in Opcode if one.name.startswith("TLBI_"))


def survivors(tlb: Tlb, reach: Reach) -> Iterator[tuple[Entry, str]]:
    """Entries that are alive though their addresses overlap an invalidation's, and why."""
    scope = reach.scope
    for space in tlb.spaces.values():
        tag = space.tag
        if not isinstance(tag, Tag) or not any(pages for _, pages in space.sizes):
            continue
        combined = reach.world == "S2" and tag.world is World.EL1_NESTED and tag.vmid == reach.vmid
        reason = "combined" if combined else _why_spared(tag, reach)
        for entry in _overlapping(space, scope, by_ipa=combined):
            why = reason or _why_left(entry, scope)
            if why:
                yield entry, why


def pointers_left(cache: WalkCache, reach: Reach) -> Iterator[tuple[Entry, str]]:
    """Pointers to tables that are alive though they lead to addresses of an invalidation's."""
    for space in cache.spaces.values():
        tag = space.tag
        if not isinstance(tag, Tag):
            continue
        reason = _why_spared(tag, reach) or ("leaf-only" if reach.leaf else "")
        for pointer in _overlapping(space, reach.scope, by_ipa=False):
            why = reason or _why_left(pointer, reach.scope)
            if why:
                yield pointer, why


def _why_spared(tag: Tag, reach: Reach) -> str:
    """Why an invalidation does not reach a tag; empty if it does."""
    if tag.world not in reach.worlds:
        return "world"
    if reach.vmid is not None and tag.vmid != reach.vmid:
        return "vmid"
    if reach.asid is None or tag.asid == reach.asid:
        return ""
    if tag.asid is None:
        return "global" if reach.spares_global else ""
    return "asid"


def _why_left(entry: Entry, scope: InvalidateScope | None) -> str:
    """Why an entry stays under a tag that is reached."""
    if scope is None:
        return ""
    if scope.granule_lg2 is not None and entry.granule_lg2 != scope.granule_lg2:
        return "granule"
    return "level" if scope.level is not None and entry.level != scope.level else "range"


def _overlapping(space: Space, scope: InvalidateScope | None, *, by_ipa: bool) -> Iterator[Entry]:
    """Entries of a space with an address (an IPA with ``by_ipa``) in the range."""
    for size_lg2, pages in space.sizes:
        if scope is None:
            yield from pages.values()
            continue
        first, last = scope.first >> size_lg2, scope.last >> size_lg2
        if by_ipa:
            found = (entry for entry in pages.values() if first <= entry.ipa >> size_lg2 <= last)
            yield from found
        elif last - first < len(pages):
            for number in range(first, last + 1):
                if number in pages:
                    yield pages[number]
        else:
            yield from (entry for number, entry in pages.items() if first <= number <= last)
