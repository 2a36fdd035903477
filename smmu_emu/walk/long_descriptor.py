# SPDX-License-Identifier: GPL-2.0-or-later
"""VMSAv8-64 translation table walks: a root and an address in, a leaf or a fault out.

Spec: DDI 0487 D8.2 (translation process), D8.3 (descriptor formats), D8.4 (permissions), D8.15
(faults); the order of faults is also in IHI 0070 7.3.22. Modelled: granules of 4, 16 and 64 KiB,
both stages, hierarchical controls, concatenated stage-2 start tables, 52-bit outputs at 64 KiB.
Left out: FEAT_LPA2 (DS), indirect permissions, 128-bit descriptors, hardware update of flags (the
leaf carries what an updater needs), and permission checks themselves: a leaf says what it allows.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE

VALID = 1 << 0
AF = 1 << 10
NOT_GLOBAL = 1 << 11
DBM = 1 << 51
_LOW48 = (1 << 48) - 1

Fetch = Callable[[int], "int | None"]
"""Reads the descriptor at an address; None when it cannot be had, and the caller knows why."""


class WalkFaultKind(IntEnum):
    """Why a walk ended without a leaf, in the order in which one level can fail."""

    NO_DESCRIPTOR = 0
    TRANSLATION = 1
    ADDRESS_SIZE = 2
    ACCESS_FLAG = 3


class WalkFault(NamedTuple):
    """A walk that ended early: at which level, and the address of the descriptor read last."""

    kind: WalkFaultKind
    level: int
    address: int


class Leaf(NamedTuple):
    """A page or block: ``size_lg2`` bytes at output address ``page``.

    ``allowed`` has bit ``kind`` set for each kind of access that may pass (see `transaction`).
    ``descriptor`` was read at ``address`` on ``level``; ``tables`` are the hierarchical bits of the
    table descriptors above it, if they count.
    """

    page: int
    size_lg2: int
    level: int
    allowed: int
    descriptor: int
    address: int
    tables: int


class Root(NamedTuple):
    """Where and how a walk starts: the parameters of one half of stage 1, or of stage 2.

    Addresses of ``input_bits`` bits are looked up from ``table`` on ``start_level``;
    ``output_bits`` limits every address that a descriptor may give. ``permissions`` is indexed by
    the four permission bits of a leaf, see `stage1_permissions` and `stage2_permissions`.
    ``hierarchical`` is the mask of a table descriptor's bits that count (APTable, PXNTable,
    UXNTable). The masks and shifts after it follow from the rest.
    """

    table: int
    granule_lg2: int
    input_bits: int
    start_level: int
    output_bits: int
    first_block_level: int
    wide: bool
    ignore_access_flag: bool
    permissions: tuple[int, ...]
    hierarchical: int
    start_shift: int
    input_mask: int
    index_mask: int
    table_mask: int


_HIERARCHICAL = 0b1111 << 59


def make_root(
    *,
    base: int,
    granule_lg2: int,
    input_bits: int,
    output_bits: int,
    permissions: tuple[int, ...],
    start_level: int | None = None,
    wide: bool = False,
    hierarchical: bool = True,
    ignore_access_flag: bool = False,
) -> Root:
    """Work out the geometry of a walk.

    ``base`` is aligned down to the size of the start table as hardware does. ``start_level`` is
    given for stage 2, where start tables may be concatenated; stage 1 derives it from
    ``input_bits``. ``wide`` is for hardware with 52-bit addresses, whose 64 KiB granule keeps the
    upper four in other bits and has level-1 blocks. ``hierarchical`` False is for stage 2 and HAD.

    Spec: DDI 0487 D8.2.5 to D8.2.9.
    """
    stride = granule_lg2 - 3
    if start_level is None:
        start_level = 4 - -(-(input_bits - granule_lg2) // stride)
    start_shift = granule_lg2 + stride * (3 - start_level)
    wide = wide and granule_lg2 == 16
    table_bytes = 8 << max(0, input_bits - start_shift)
    alignment = max(table_bytes, 64) if output_bits == 52 else table_bytes
    return Root(
        table=base & -alignment,
        granule_lg2=granule_lg2,
        input_bits=input_bits,
        start_level=start_level,
        output_bits=output_bits,
        first_block_level=1 if granule_lg2 == 12 or wide else 2,
        wide=wide,
        ignore_access_flag=ignore_access_flag,
        permissions=permissions,
        hierarchical=_HIERARCHICAL if hierarchical else 0,
        start_shift=start_shift,
        input_mask=(1 << input_bits) - 1,
        index_mask=(1 << granule_lg2) - 8,
        table_mask=_LOW48 & -(1 << granule_lg2),
    )


def walk(fetch: Fetch, root: Root, address: int) -> Leaf | WalkFault:
    """Walk the tables of ``root`` for ``address``, whose bits from ``input_bits`` up do not count.

    The caller has checked that the address is in range (it knows about tags and halves).

    Spec: DDI 0487 D8.2; order of checks D8.15.5, IHI 0070 7.3.22.
    """
    # fmt: off
    (table, granule_lg2, _, level, output_bits, first_block_level, wide, ignore_access_flag,
     permissions, hierarchical, shift, input_mask, index_mask, table_mask) = root
    # fmt: on
    stride = granule_lg2 - 3
    beyond = 1 << output_bits
    tables = 0
    where = table + ((address & input_mask) >> shift << 3)
    while (descriptor := fetch(where)) is not None:
        if level == 3 or descriptor & 3 != 3:
            break
        table = descriptor & table_mask
        if wide:
            table |= (descriptor & 0xF000) << 36
        if table >= beyond:
            return WalkFault(WalkFaultKind.ADDRESS_SIZE, level, where)
        tables |= descriptor
        level += 1
        shift -= stride
        where = table + (address >> shift - 3 & index_mask)
    else:
        return WalkFault(WalkFaultKind.NO_DESCRIPTOR, level, where)
    if descriptor & 3 != 3 and not (descriptor & 3 == 1 and first_block_level <= level < 3):
        return WalkFault(WalkFaultKind.TRANSLATION, level, where)
    page = descriptor & _LOW48 & -(1 << shift)
    if wide:
        page |= (descriptor & 0xF000) << 36
    if page >= beyond:
        return WalkFault(WalkFaultKind.ADDRESS_SIZE, level, where)
    if not descriptor & AF and not ignore_access_flag:
        return WalkFault(WalkFaultKind.ACCESS_FLAG, level, where)
    tables &= hierarchical
    bits = descriptor >> 51 & 0b1100 | descriptor >> 6 & 0b11
    if tables:
        bits = _restricted(bits, tables)
    # tuple.__new__ takes a third of the time of Leaf(...), and this is made for every walk.
    return tuple.__new__(Leaf, (page, shift, level, permissions[bits], descriptor, where, tables))


def allowed_by(root: Root, descriptor: int, tables: int) -> int:
    """Permission byte of a leaf ``descriptor`` below tables with hierarchical bits ``tables``."""
    bits = descriptor >> 51 & 0b1100 | descriptor >> 6 & 0b11
    return root.permissions[_restricted(bits, tables)]


def _restricted(bits: int, tables: int) -> int:
    """Permission bits below tables that forbid more.

    APTable[1], PXNTable and UXNTable add a restriction, APTable[0] takes AP[1]'s access away.
    """
    return (bits | tables >> 57 & 0b1100 | tables >> 61 & 0b10) & ~(tables >> 61 & 0b01)


def _byte(*, unprivileged: tuple[bool, bool, bool], privileged: tuple[bool, bool, bool]) -> int:
    """Permission byte from (read, write, execute) of both levels. Writes are never instructions."""
    allowed = 0
    for level, (read, write, execute) in ((0, unprivileged), (PRIVILEGED, privileged)):
        allowed |= read << level
        allowed |= write << (level | WRITE) | write << (level | WRITE | INSTRUCTION)
        allowed |= execute << (level | INSTRUCTION)
    return allowed


@lru_cache
def stage1_permissions(
    *, wxn: bool = False, pan: bool = False, one_level: bool = False
) -> tuple[int, ...]:
    """Permission bytes of stage 1, indexed by ``UXN << 3 | PXN << 2 | AP[2:1]``.

    ``one_level`` is for regimes without unprivileged accesses (EL2, EL3): AP[1] and PXN do not
    count, and every access is judged as privileged.

    Spec: DDI 0487 D8.4.1; IHI 0070 5.4 WXN, PAN.
    """
    table = []
    for bits in range(16):
        uxn, pxn = bool(bits & 8), bool(bits & 4)
        read_only, user = bool(bits & 2), bool(bits & 1)
        if one_level:
            write = not read_only
            rights = (True, write, not uxn and not (wxn and write))
            table.append(_byte(unprivileged=rights, privileged=rights))
            continue
        user_write, write = user and not read_only, not read_only
        seen = not (pan and user)
        execute = not pxn and not user_write and not (wxn and write)
        table.append(
            _byte(
                unprivileged=(user, user_write, not uxn and not (wxn and user_write)),
                privileged=(seen, write and seen, execute),
            )
        )
    return tuple(table)


@lru_cache
def stage2_permissions(*, xnx: bool = False) -> tuple[int, ...]:
    """Permission bytes of stage 2, indexed by ``XN[1:0] << 2 | S2AP[1:0]``.

    With ``xnx`` both XN bits count and tell the two levels apart; without, only XN[1] does.

    Spec: DDI 0487 D8.4.2; IHI 0070 6.3.4 XNX.
    """
    table = []
    for bits in range(16):
        read, write = bool(bits & 1), bool(bits & 2)
        xn1, xn0 = bool(bits & 8), bool(bits & 4)
        privileged_execute = xn1 == xn0 if xnx else not xn1
        table.append(
            _byte(
                unprivileged=(read, write, not xn1),
                privileged=(read, write, privileged_execute),
            )
        )
    return tuple(table)
