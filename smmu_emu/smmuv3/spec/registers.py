# SPDX-License-Identifier: GPL-2.0-or-later
"""SMMUv3 registers of the Non-secure programming interface: offsets and fields, declared once.

Spec: IHI 0070 6.2 (maps), 6.3 (one section a register). Secure and Realm registers, MPAM, ECMDQ and
the optional pages beyond page 1 are not declared.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.bits import Address, Bits, Word

PAGE_SIZE = 0x10000
"""Pages 0 and 1 are 64 KiB each (6.1)."""
WINDOW_SIZE = 2 * PAGE_SIZE


class IDR0(Word, bits=32):
    """Features. Spec: 6.3.1."""

    S2P = Bits(0)
    S1P = Bits(1)
    TTF = Bits(3, 2)
    COHACC = Bits(4)
    BTM = Bits(5)
    HTTU = Bits(7, 6)
    DORMHINT = Bits(8)
    Hyp = Bits(9)
    ATS = Bits(10)
    NS1ATS = Bits(11)
    ASID16 = Bits(12)
    MSI = Bits(13)
    SEV = Bits(14)
    ATOS = Bits(15)
    PRI = Bits(16)
    VMW = Bits(17)
    VMID16 = Bits(18)
    CD2L = Bits(19)
    VATOS = Bits(20)
    TTENDIAN = Bits(22, 21)
    ATSRECERR = Bits(23)
    STALL_MODEL = Bits(25, 24)
    TERM_MODEL = Bits(26)
    ST_LEVEL = Bits(28, 27)
    RME_IMPL = Bits(30)


class IDR1(Word, bits=32):
    """Sizes. Spec: 6.3.2."""

    SIDSIZE = Bits(5, 0)
    SSIDSIZE = Bits(10, 6)
    PRIQS = Bits(15, 11)
    EVENTQS = Bits(20, 16)
    CMDQS = Bits(25, 21)
    ATTR_PERMS_OVR = Bits(26)
    ATTR_TYPES_OVR = Bits(27)
    REL = Bits(28)
    QUEUES_PRESET = Bits(29)
    TABLES_PRESET = Bits(30)
    ECMDQ = Bits(31)


class IDR3(Word, bits=32):
    """More features. Spec: 6.3.4."""

    HAD = Bits(2)
    PBHA = Bits(3)
    XNX = Bits(4)
    PPS = Bits(5)
    MPAM = Bits(7)
    FWB = Bits(8)
    STT = Bits(9)
    RIL = Bits(10)
    BBML = Bits(12, 11)
    E0PD = Bits(13)
    PTWNNC = Bits(14)
    DPT = Bits(15)
    PASIDTT = Bits(16)
    EPAN = Bits(17)
    S1PI = Bits(18)
    S2PI = Bits(19)
    S2PO = Bits(20)
    THE = Bits(21)
    MTEPERM = Bits(22)
    AIE = Bits(23)


class IDR5(Word, bits=32):
    """Address sizes and granules. Spec: 6.3.6."""

    OAS = Bits(2, 0)
    GRAN4K = Bits(4)
    GRAN16K = Bits(5)
    GRAN64K = Bits(6)
    DS = Bits(7)
    D128 = Bits(8)
    VAX = Bits(11, 10)
    STALL_MAX = Bits(31, 16)


class CR0(Word, bits=32):
    """Enables. CR0ACK has the same layout. Spec: 6.3.9, 6.3.10."""

    SMMUEN = Bits(0)
    PRIQEN = Bits(1)
    EVENTQEN = Bits(2)
    CMDQEN = Bits(3)
    ATSCHK = Bits(4)
    VMW = Bits(8, 6)


class CR1(Word, bits=32):
    """Attributes of accesses to tables and queues. Spec: 6.3.11."""

    QUEUE_IC = Bits(1, 0)
    QUEUE_OC = Bits(3, 2)
    QUEUE_SH = Bits(5, 4)
    TABLE_IC = Bits(7, 6)
    TABLE_OC = Bits(9, 8)
    TABLE_SH = Bits(11, 10)


class CR2(Word, bits=32):
    """E2H, recording of bad StreamIDs, private TLB maintenance. Spec: 6.3.12."""

    E2H = Bits(0)
    RECINVSID = Bits(1)
    PTM = Bits(2)
    REC_CFG_ATS = Bits(3)


class GBPA(Word, bits=32):
    """What happens to transactions while SMMUEN is 0. Spec: 6.3.14."""

    MemAttr = Bits(3, 0)
    MTCFG = Bits(4)
    ALLOCCFG = Bits(11, 8)
    SHCFG = Bits(13, 12)
    PRIVCFG = Bits(17, 16)
    INSTCFG = Bits(19, 18)
    ABORT = Bits(20)
    Update = Bits(31)


class IRQ_CTRL(Word, bits=32):  # noqa: N801
    """Interrupt enables. IRQ_CTRLACK has the same layout. Spec: 6.3.16, 6.3.18."""

    GERROR_IRQEN = Bits(0)
    PRIQ_IRQEN = Bits(1)
    EVENTQ_IRQEN = Bits(2)


class GERROR(Word, bits=32):
    """Global errors, by toggling; GERRORN acknowledges. Spec: 6.3.19, 6.3.20, 7.5."""

    CMDQ_ERR = Bits(0)
    EVENTQ_ABT_ERR = Bits(2)
    PRIQ_ABT_ERR = Bits(3)
    MSI_CMDQ_ABT_ERR = Bits(4)
    MSI_EVENTQ_ABT_ERR = Bits(5)
    MSI_PRIQ_ABT_ERR = Bits(6)
    MSI_GERROR_ABT_ERR = Bits(7)
    SFM_ERR = Bits(8)


class STRTAB_BASE(Word, bits=64):  # noqa: N801
    """Where the stream table is. Spec: 6.3.24."""

    ADDR = Address(55, 6)
    RA = Bits(62)


class STRTAB_BASE_CFG(Word, bits=32):  # noqa: N801
    """Size and format of the stream table. Spec: 6.3.25."""

    LOG2SIZE = Bits(5, 0)
    SPLIT = Bits(10, 6)
    FMT = Bits(17, 16)


class QUEUE_BASE(Word, bits=64):  # noqa: N801
    """CMDQ_BASE, EVENTQ_BASE and PRIQ_BASE. Spec: 6.3.26, 6.3.29, 6.3.34.

    Bit 62 is RA in CMDQ_BASE and WA in the other two.
    """

    LOG2SIZE = Bits(4, 0)
    ADDR = Address(55, 5)
    HINT = Bits(62)


class CMDQ_CONS(Word, bits=32):  # noqa: N801
    """Read index of the command queue, and why it stopped. Spec: 6.3.28."""

    RD = Bits(19, 0)
    ERR = Bits(30, 24)


class IRQ_CFG0(Word, bits=64):  # noqa: N801
    """Address of an MSI. Spec: 6.3.21."""

    ADDR = Address(55, 2)


class IRQ_CFG2(Word, bits=32):  # noqa: N801
    """Attributes of an MSI; LO is in PRIQ_IRQ_CFG2 only. Spec: 6.3.23, 6.3.36."""

    MEMATTR = Bits(3, 0)
    SH = Bits(5, 4)
    LO = Bits(31)


class Register(NamedTuple):
    """One register: where it is and how wide, in bytes."""

    name: str
    offset: int
    size: int


def _registers(*rows: tuple[str, int, int]) -> dict[str, Register]:
    return {name: Register(name, offset, size) for name, offset, size in rows}


REGISTERS = _registers(
    ("IDR0", 0x00, 4),
    ("IDR1", 0x04, 4),
    ("IDR2", 0x08, 4),
    ("IDR3", 0x0C, 4),
    ("IDR4", 0x10, 4),
    ("IDR5", 0x14, 4),
    ("IIDR", 0x18, 4),
    ("AIDR", 0x1C, 4),
    ("CR0", 0x20, 4),
    ("CR0ACK", 0x24, 4),
    ("CR1", 0x28, 4),
    ("CR2", 0x2C, 4),
    ("STATUSR", 0x40, 4),
    ("GBPA", 0x44, 4),
    ("AGBPA", 0x48, 4),
    ("IRQ_CTRL", 0x50, 4),
    ("IRQ_CTRLACK", 0x54, 4),
    ("GERROR", 0x60, 4),
    ("GERRORN", 0x64, 4),
    ("GERROR_IRQ_CFG0", 0x68, 8),
    ("GERROR_IRQ_CFG1", 0x70, 4),
    ("GERROR_IRQ_CFG2", 0x74, 4),
    ("STRTAB_BASE", 0x80, 8),
    ("STRTAB_BASE_CFG", 0x88, 4),
    ("CMDQ_BASE", 0x90, 8),
    ("CMDQ_PROD", 0x98, 4),
    ("CMDQ_CONS", 0x9C, 4),
    ("EVENTQ_BASE", 0xA0, 8),
    ("EVENTQ_IRQ_CFG0", 0xB0, 8),
    ("EVENTQ_IRQ_CFG1", 0xB8, 4),
    ("EVENTQ_IRQ_CFG2", 0xBC, 4),
    ("PRIQ_BASE", 0xC0, 8),
    ("PRIQ_IRQ_CFG0", 0xD0, 8),
    ("PRIQ_IRQ_CFG1", 0xD8, 4),
    ("PRIQ_IRQ_CFG2", 0xDC, 4),
    ("EVENTQ_PROD", 0x100A8, 4),
    ("EVENTQ_CONS", 0x100AC, 4),
    ("PRIQ_PROD", 0x100C8, 4),
    ("PRIQ_CONS", 0x100CC, 4),
)
"""Every register of pages 0 and 1 that this model knows, by name without the SMMU_ prefix."""
