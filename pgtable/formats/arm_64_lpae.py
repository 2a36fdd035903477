# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM_64_LPAE_S1 and ARM_64_LPAE_S2: VMSAv8-64 stage 1 and stage 2, 4K, 16K and 64K granules.

Spec: DDI 0487 D8.3.1 (descriptors), D8.4 (access permissions), D8.6 (memory attributes; stage 2
encodings with FEAT_S2FWB in D8.6.6).
"""

from __future__ import annotations

import dataclasses

from pgtable.config import ArmLpaeS1Regs, ArmLpaeS2Regs, PageTableConfig, Prot, Quirk
from pgtable.errors import ConfigRefusedError
from pgtable.formats.lpae import LpaeTable
from pgtable.formats.lpae_config import (
    MAX_CONCATENATED,
    check_quirks,
    must_concatenate,
    s1_regs,
    s2_regs,
    shape,
    stage_1_tcr,
    stage_2_vtcr,
)
from pgtable.memory import TableMemory
from pgtable.registry import Format

READ, WRITE, CACHE = int(Prot.READ), int(Prot.WRITE), int(Prot.CACHE)
NOEXEC, MMIO, PRIV = int(Prot.NOEXEC), int(Prot.MMIO), int(Prot.PRIV)

XN = 3 << 53
DBM = 1 << 51
AF = 1 << 10
SH_OUTER = 2 << 8
SH_INNER = 3 << 8
NS = 1 << 5

S1_NOT_GLOBAL = 1 << 11
S1_READ_ONLY = 1 << 7
S1_UNPRIVILEGED = 1 << 6
S1_INDEX_CACHE = 1 << 2
S1_INDEX_DEVICE = 2 << 2

S2_READ = 1 << 6
S2_WRITE = 2 << 6
S2_DEVICE = 0x1 << 2
S2_NON_CACHEABLE = 0x5 << 2
S2_FORCED_WRITE_BACK = 0x6 << 2
S2_WRITE_BACK = 0xF << 2

S1_QUIRKS = Quirk.ARM_NS | Quirk.ARM_TTBR1 | Quirk.ARM_OUTER_WBWA | Quirk.ARM_HD | Quirk.NO_WARN
S2_QUIRKS = Quirk.ARM_S2FWB | Quirk.NO_WARN


class Stage1Table(LpaeTable[ArmLpaeS1Regs]):
    """A stage 1 table."""

    def attributes(self, prot: int) -> int:
        quirks = self.cfg.quirks
        bits = S1_NOT_GLOBAL | AF | (SH_INNER if prot & CACHE else SH_OUTER)
        if prot & READ and not prot & WRITE:
            bits |= S1_READ_ONLY
        elif quirks & Quirk.ARM_HD:
            bits |= DBM
        if not prot & PRIV:
            bits |= S1_UNPRIVILEGED
        if prot & MMIO:
            bits |= S1_INDEX_DEVICE
        elif prot & CACHE:
            bits |= S1_INDEX_CACHE
        if prot & NOEXEC:
            bits |= XN
        if quirks & Quirk.ARM_NS:
            bits |= NS
        return bits


class Stage2Table(LpaeTable[ArmLpaeS2Regs]):
    """A stage 2 table."""

    def attributes(self, prot: int) -> int:
        bits = AF | (SH_INNER if prot & CACHE else SH_OUTER)
        if prot & READ:
            bits |= S2_READ
        if prot & WRITE:
            bits |= S2_WRITE
        if prot & MMIO:
            bits |= S2_DEVICE
        elif prot & CACHE:
            fwb = self.cfg.quirks & Quirk.ARM_S2FWB
            bits |= S2_FORCED_WRITE_BACK if fwb else S2_WRITE_BACK
        else:
            bits |= S2_NON_CACHEABLE
        if prot & NOEXEC:
            bits |= XN
        return bits


def create_s1(fmt: str, asked: PageTableConfig, memory: TableMemory) -> Stage1Table:
    """Make a stage 1 table.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    check_quirks(asked, S1_QUIRKS)
    cfg, geometry = shape(asked)
    tcr = stage_1_tcr(cfg, geometry)
    table = Stage1Table(fmt, cfg, memory, geometry)
    table.regs = s1_regs(tcr, table.root)
    return table


def create_s2(fmt: str, asked: PageTableConfig, memory: TableMemory) -> Stage2Table:
    """Make a stage 2 table, its first level concatenated where the architecture wants it.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    check_quirks(asked, S2_QUIRKS)
    cfg, geometry = shape(asked)
    if must_concatenate(cfg, geometry):
        tables = 1 << geometry.pgd_bits
        if tables > MAX_CONCATENATED:
            if cfg.warn is not None:
                cfg.warn(f"{tables} concatenated tables needed, {MAX_CONCATENATED} are the limit")
            raise ConfigRefusedError(
                "ias",
                asked.ias,
                f"with oas {cfg.oas} it needs {tables} concatenated tables, over the "
                f"architecture's {MAX_CONCATENATED}",
            )
        geometry = dataclasses.replace(
            geometry,
            pgd_bits=geometry.pgd_bits + geometry.bits,
            start_level=geometry.start_level + 1,
        )
    vtcr = stage_2_vtcr(cfg, geometry)
    table = Stage2Table(fmt, cfg, memory, geometry)
    table.regs = s2_regs(vtcr, table.root)
    return table


S1 = Format("ARM_64_LPAE_S1", create_s1, custom_allocator=True)
S2 = Format("ARM_64_LPAE_S2", create_s2, custom_allocator=True)
