# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 2, QEMU's way: its walk, and what is fetched through it for nested streams.

Spec: DDI 0487 D8.2, D8.3, D8.15; IHI 0070 3.4, 5.2 (S2PTW), 7.3.13, 7.3.22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import descriptor as desc
from .context import Config, Stage2
from .deviations import lasting
from .events import (
    CLASS_CD,
    CLASS_IN,
    F_ACCESS,
    F_ADDR_SIZE,
    F_PERMISSION,
    F_TRANSLATION,
    F_WALK_EABT,
    Fault,
)
from .fields import bits, level_shift, low_mask
from .tlb import READ, Entry, Key

if TYPE_CHECKING:
    from .twin import Twin


def walk_stage2(twin: Twin, stage2: Stage2, ipa: int, need: int, klass: int) -> Entry:
    """Walk stage 2 for ``ipa``; ``need`` is READ or WRITE, ``klass`` what is being translated.

    Raises:
        Fault: stage 2's, with the IPA.
    """

    def fault(kind: int, address: int = ipa, recorded: bool = stage2.recorded) -> Fault:
        return Fault(kind, stage2=True, klass=klass, address=address, recorded=recorded)

    if ipa >> stage2.input_bits:
        raise fault(F_TRANSLATION)
    granule, level = stage2.granule, stage2.start
    table, index = twin.acts(
        "concatenated-tables", qemu_start(stage2, ipa), architecture_start(stage2, ipa)
    )
    while True:
        address = table + 8 * index
        descriptor = twin.memory.read_u64(address)
        if descriptor is None:
            raise fault(F_WALK_EABT, address, True)
        if desc.is_invalid(descriptor, level):
            raise fault(F_TRANSLATION)
        if desc.is_leaf(descriptor, level):
            break
        table = desc.output(descriptor, granule)
        if twin.acts("table-address-size", False, bool(table >> stage2.output_bits)):
            raise fault(F_ADDR_SIZE)
        level += 1
        index = desc.index(ipa, stage2.input_bits, level, granule)
    if not twin.acts("block-level", True, desc.is_block_level(granule, level)):
        raise fault(F_TRANSLATION)
    kind = _judge_stage2(twin, stage2, descriptor, level, need, klass)
    if kind is not None:
        raise fault(kind)
    mask = low_mask(level_shift(level, granule))
    s2ap = bits(descriptor, 6, 2)
    return Entry(
        iova=ipa & ~mask,
        mask=mask,
        out=desc.output(descriptor, level_shift(level, granule)),
        granule=granule,
        level=level,
        perm=s2ap,
        parent=s2ap,
        ipa=ipa & ~mask,
        leaf=(granule, level),
        descriptor=descriptor,
    )


def qemu_start(stage2: Stage2, ipa: int) -> tuple[int, int]:
    """Return QEMU's start table and the index in it.

    The size of the tables is taken modulo 64 bits, as the host's shift does when the input is too
    small for the start level.
    """
    stride = stage2.granule - 3
    table_lg2 = stage2.input_bits - stride * (4 - stage2.start)
    number = ipa >> level_shift(stage2.start - 1, stage2.granule)
    base = stage2.ttb + (8 << stride) * number & ~low_mask(table_lg2 & 63)
    return base, desc.index(ipa, stage2.input_bits, stage2.start, stage2.granule)


def architecture_start(stage2: Stage2, ipa: int) -> tuple[int, int]:
    shift = level_shift(stage2.start, stage2.granule)
    table_lg2 = max(0, stage2.input_bits - shift) + 3
    index = ipa >> shift
    per_table = stage2.granule - 3
    base = stage2.ttb & ~low_mask(table_lg2)
    # Told as a table and an index in it, so as to compare with the other way.
    return base + (8 << per_table) * (index >> per_table), index & low_mask(per_table)


def _judge_stage2(
    twin: Twin, stage2: Stage2, descriptor: int, level: int, need: int, klass: int
) -> int | None:
    out = desc.output(descriptor, level_shift(level, stage2.granule))
    access = (not descriptor & desc.ACCESSED and not stage2.affd, F_ACCESS)
    permission = (bool(need & ~bits(descriptor, 6, 2)), F_PERMISSION)
    size = (bool(out >> stage2.output_bits), F_ADDR_SIZE)
    kind = twin.acts(
        "leaf-check-order",
        desc.first(access, permission, size),
        desc.first(size, access, permission),
    )
    protected = stage2.ptw and desc.is_device(descriptor) and klass != CLASS_IN
    return twin.acts("s2ptw", kind, F_PERMISSION if protected and kind is None else kind)


# Through the TLB


def fetch_address(twin: Twin, config: Config, ipa: int, klass: int) -> int:
    """Translate the IPA of a CD or of a stage-1 table, through the TLB.

    Raises:
        Fault: stage 2's.
    """
    stage2 = config.stage2
    assert stage2 is not None
    entry = lookup_stage2(twin, config, stage2, ipa)
    if entry is not None:
        twin.note(*entry.names)
        _judge_fetch_hit(twin, stage2, entry, ipa, klass)
        return entry.target(ipa)
    if not twin.architecture and ipa >> config.output_bits:
        twin.note("input-address-size" if klass == CLASS_CD else "table-address-size")
        raise Fault(F_ADDR_SIZE, klass=klass, recorded=config.recorded, fetching=True)
    with twin.names_apart() as names:
        try:
            entry = walk_stage2(twin, stage2, ipa, READ, klass)
        except Fault as fault:
            fault.fetching = not twin.architecture
            raise
    entry.names = lasting(names)
    twin.remember(-1, config.vmid, entry)
    return entry.target(ipa)


def _judge_fetch_hit(twin: Twin, stage2: Stage2, entry: Entry, ipa: int, klass: int) -> None:
    denied = twin.acts("hit-permissions", False, not entry.parent & READ)
    device = stage2.ptw and desc.is_device(entry.descriptor)
    if twin.acts("s2ptw", False, device) or denied:
        recorded = stage2.recorded
        raise Fault(F_PERMISSION, stage2=True, klass=klass, address=ipa, recorded=recorded)


def peek(twin: Twin, config: Config, ipa: int, klass: int) -> int | Fault:
    """Return where the architecture finds what is fetched at ``ipa``, without a trace."""
    with twin.as_architecture():
        try:
            return fetch_address(twin, config, ipa, klass)
        except Fault as fault:
            return fault


def lookup_stage2(twin: Twin, config: Config, stage2: Stage2, ipa: int) -> Entry | None:
    """Return the entry that QEMU finds for an IPA."""
    found = twin.tlb.lookup(-1, config.vmid, ipa, stage2.granule, stage2.input_bits)
    entry = usable(twin, found)
    note_other_stage2_entries(twin, config, ipa, entry)
    return entry


def usable(twin: Twin, entry: Entry | None) -> Entry | None:
    """Return what was found, unless the architecture would not have it."""
    return None if entry is not None and twin.architecture and entry.names else entry


def note_other_stage2_entries(twin: Twin, config: Config, ipa: int, used: Entry | None) -> None:
    """Note where another entry than the one used, if any, might serve as well."""

    def serves(key: Key, entry: Entry) -> bool:
        return key[:2] == (-1, config.vmid) and ipa & ~entry.mask == entry.iova

    if any(serves(key, entry) for key, entry in twin.tlb.legal() if entry is not used):
        twin.note("tlb-tags")
