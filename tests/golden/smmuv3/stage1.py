# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage-1 walk, QEMU's way. Spec: DDI 0487 D8.2 to D8.4, D8.15; IHI 0070 3.4, 7.3.22."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import descriptor as desc
from .context import Config, Half
from .events import CLASS_TT, F_ACCESS, F_ADDR_SIZE, F_PERMISSION, F_TRANSLATION, F_WALK_EABT, Fault
from .fields import bits, level_shift, low_mask, start_level
from .stage2 import fetch_address, peek
from .tlb import READ, WRITE, Entry

if TYPE_CHECKING:
    from .twin import Twin


def walk_stage1(twin: Twin, config: Config, half: Half, va: int, need: int) -> Entry:
    """Walk stage 1 for ``va``.

    Raises:
        Fault: stage 1's, or stage 2's for one of the tables.
    """

    def fault(kind: int) -> Fault:
        return Fault(kind, recorded=config.recorded)

    granule, level = half.granule, start_level(half.input_bits, half.granule)
    index_mask = low_mask(half.input_bits - (granule - 3) * (4 - level))
    table = half.ttb & low_mask(config.output_bits) & ~index_mask
    table_ipa = half.ttb_ipa & ~index_mask
    start, ap_table = True, 0
    while True:
        index = desc.index(va, half.input_bits, level, granule)
        address = table + 8 * index
        if config.stage2:
            address = _through_stage2(twin, config, half, address, table_ipa + 8 * index, start)
        descriptor = twin.memory.read_u64(address)
        if descriptor is None:
            raise Fault(F_WALK_EABT, klass=CLASS_TT, address=address)
        if desc.is_invalid(descriptor, level):
            raise fault(F_TRANSLATION)
        if desc.is_leaf(descriptor, level):
            break
        table = table_ipa = desc.output(descriptor, granule)
        if not half.had:
            ap_table |= bits(descriptor, 61, 2)
            forbids = need == WRITE and bool(bits(descriptor, 62, 1))
            if twin.acts("aptable", forbids, False):
                raise fault(F_PERMISSION)
        if twin.acts("table-address-size", False, bool(table >> config.output_bits)):
            raise fault(F_ADDR_SIZE)
        if config.stage2 and not twin.architecture:
            table = _translate_table(twin, config, table)
        level, start = level + 1, False
    if not twin.acts("block-level", True, desc.is_block_level(granule, level)):
        raise fault(F_TRANSLATION)
    kind = _judge_stage1(twin, config, descriptor, level_shift(level, granule), ap_table, need)
    if kind is not None:
        raise fault(kind)
    return _stage1_entry(va, granule, level, descriptor, ap_table)


def _stage1_entry(va: int, granule: int, level: int, descriptor: int, ap_table: int) -> Entry:
    mask = low_mask(level_shift(level, granule))
    perm = READ if descriptor >> 7 & 1 else READ | WRITE
    out = desc.output(descriptor, level_shift(level, granule))
    return Entry(
        iova=va & ~mask,
        mask=mask,
        out=out,
        granule=granule,
        level=level,
        perm=perm,
        parent=perm,
        ap=bits(descriptor, 6, 2),
        ap_table=ap_table,
        not_global=bool(descriptor >> 11 & 1),
        ipa=out,
        leaf=(granule, level),
    )


def _through_stage2(
    twin: Twin, config: Config, half: Half, address: int, ipa: int, start: bool
) -> int:
    """Return where the descriptor is read, given QEMU's ``address`` and the descriptor's IPA."""
    name = "stage2-of-tables"
    expected = peek(twin, config, ipa, CLASS_TT)
    if start and peek(twin, config, half.ttb_ipa, CLASS_TT) != half.ttb:
        name = "ttb-at-decode"
    where = twin.acts(name, address, expected)
    if isinstance(where, Fault):
        raise where
    return where


def _translate_table(twin: Twin, config: Config, ipa: int) -> int:
    """Return QEMU's address of the next table; what faults there loses its stage."""
    try:
        return fetch_address(twin, config, ipa, CLASS_TT)
    except Fault as fault:
        twin.note("lost-s2")
        eabt = fault.kind == F_WALK_EABT
        raise Fault(
            fault.kind,
            klass=CLASS_TT,
            address=ipa,
            recorded=eabt or config.recorded,
        ) from None


def _judge_stage1(
    twin: Twin, config: Config, descriptor: int, shift: int, ap_table: int, need: int
) -> int | None:
    access = (not descriptor & desc.ACCESSED and not config.affd, F_ACCESS)
    size = (bool(desc.output(descriptor, shift) >> config.output_bits), F_ADDR_SIZE)
    denied = stage1_denies(twin, bits(descriptor, 6, 2), ap_table, need)
    permission = (denied, F_PERMISSION)
    return twin.acts(
        "leaf-check-order",
        desc.first(access, permission, size),
        desc.first(size, access, permission),
    )


def stage1_denies(twin: Twin, ap: int, ap_table: int, need: int) -> bool:
    """Say whether AP[2:1] and the gathered APTable forbid the access."""
    read_only = need == WRITE and bool(ap & 2)
    unprivileged = twin.acts("privileged", False, not ap & 1)
    by_table = twin.acts("aptable", False, bool(ap_table & 1 or (ap_table & 2 and need == WRITE)))
    return read_only or unprivileged or by_table
