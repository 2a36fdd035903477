# SPDX-License-Identifier: GPL-2.0-or-later
"""System registers by name: their encodings op0, op1, CRn, CRm, op2.

Reference: DDI 0487 C5.1 (the encoding space), D24.
"""

from __future__ import annotations

from smmu_emu.cpu.engine import SystemRegister

SYSTEM: dict[str, SystemRegister] = {
    "MIDR_EL1": (3, 0, 0, 0, 0),
    "MPIDR_EL1": (3, 0, 0, 0, 5),
    "ID_AA64PFR0_EL1": (3, 0, 0, 4, 0),
    "ID_AA64DFR0_EL1": (3, 0, 0, 5, 0),
    "ID_AA64ISAR0_EL1": (3, 0, 0, 6, 0),
    "ID_AA64MMFR0_EL1": (3, 0, 0, 7, 0),
    "ID_AA64MMFR1_EL1": (3, 0, 0, 7, 1),
    "SCTLR_EL1": (3, 0, 1, 0, 0),
    "CPACR_EL1": (3, 0, 1, 0, 2),
    "TTBR0_EL1": (3, 0, 2, 0, 0),
    "TTBR1_EL1": (3, 0, 2, 0, 1),
    "TCR_EL1": (3, 0, 2, 0, 2),
    "SPSR_EL1": (3, 0, 4, 0, 0),
    "ELR_EL1": (3, 0, 4, 0, 1),
    "SP_EL0": (3, 0, 4, 1, 0),
    "ESR_EL1": (3, 0, 5, 2, 0),
    "FAR_EL1": (3, 0, 6, 0, 0),
    "PAR_EL1": (3, 0, 7, 4, 0),
    "MAIR_EL1": (3, 0, 10, 2, 0),
    "VBAR_EL1": (3, 0, 12, 0, 0),
    "ISR_EL1": (3, 0, 12, 1, 0),
    "CONTEXTIDR_EL1": (3, 0, 13, 0, 1),
    "TPIDR_EL1": (3, 0, 13, 0, 4),
    "TPIDR_EL0": (3, 3, 13, 0, 2),
    "TPIDRRO_EL0": (3, 3, 13, 0, 3),
    "CNTKCTL_EL1": (3, 0, 14, 1, 0),
    "CNTFRQ_EL0": (3, 3, 14, 0, 0),
    "CNTPCT_EL0": (3, 3, 14, 0, 1),
    "CNTVCT_EL0": (3, 3, 14, 0, 2),
    "CNTP_TVAL_EL0": (3, 3, 14, 2, 0),
    "CNTP_CTL_EL0": (3, 3, 14, 2, 1),
    "CNTP_CVAL_EL0": (3, 3, 14, 2, 2),
    "CNTV_TVAL_EL0": (3, 3, 14, 3, 0),
    "CNTV_CTL_EL0": (3, 3, 14, 3, 1),
    "CNTV_CVAL_EL0": (3, 3, 14, 3, 2),
    "MDSCR_EL1": (2, 0, 0, 2, 2),
    "SCTLR_EL2": (3, 4, 1, 0, 0),
    "HCR_EL2": (3, 4, 1, 1, 0),
    "CPTR_EL2": (3, 4, 1, 1, 2),
    "TTBR0_EL2": (3, 4, 2, 0, 0),
    "TCR_EL2": (3, 4, 2, 0, 2),
    "VTTBR_EL2": (3, 4, 2, 1, 0),
    "VTCR_EL2": (3, 4, 2, 1, 2),
    "SPSR_EL2": (3, 4, 4, 0, 0),
    "ELR_EL2": (3, 4, 4, 0, 1),
    "ESR_EL2": (3, 4, 5, 2, 0),
    "FAR_EL2": (3, 4, 6, 0, 0),
    "HPFAR_EL2": (3, 4, 6, 0, 4),
    "MAIR_EL2": (3, 4, 10, 2, 0),
    "VBAR_EL2": (3, 4, 12, 0, 0),
    "TPIDR_EL2": (3, 4, 13, 0, 2),
    "CNTVOFF_EL2": (3, 4, 14, 0, 3),
    "CNTHCTL_EL2": (3, 4, 14, 1, 0),
    "CNTHP_TVAL_EL2": (3, 4, 14, 2, 0),
    "CNTHP_CTL_EL2": (3, 4, 14, 2, 1),
    "CNTHP_CVAL_EL2": (3, 4, 14, 2, 2),
    "SCR_EL3": (3, 6, 1, 1, 0),
}
_OP1_OF_EL0, _OP1_OF_EL2, _OF_EL2 = 3, (4, 5), 2
MPIDR_EL1 = SYSTEM["MPIDR_EL1"]
_NAMES = {encoding: name for name, encoding in SYSTEM.items()}


def system_name(register: SystemRegister) -> str:
    """The register's name, or the generic S<op0>_<op1>_C<n>_C<m>_<op2>."""
    op0, op1, crn, crm, op2 = register
    return _NAMES.get(register, f"S{op0}_{op1}_C{crn}_C{crm}_{op2}")


def system_transfer(word: int) -> tuple[SystemRegister, int, bool] | None:
    """(register, Rt, whether it reads) of an MRS, MSR, SYS or SYSL; None for what is none."""
    op0 = word >> 19 & 3
    if word >> 22 != 0b1101010100 or not op0:
        return None
    register = (op0, word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7)
    return register, word & 31, bool(word & 1 << 21)


def system_access(word: int, level: int, highest: int = 1) -> str | None:
    """The MRS, MSR, SYS or SYSL that ``level`` might have executed, in words.

    None for other instructions, and for registers that the level has no access to anyway, such as
    EL2's from EL1 where the guest has both (``highest`` is 2): that these are undefined there says
    nothing about what is modelled.
    """
    fields = system_transfer(word)
    if fields is None or (not level and fields[0][1] != _OP1_OF_EL0):
        return None
    if level < highest == _OF_EL2 and fields[0][1] in _OP1_OF_EL2:
        return None
    register, rt, read = fields
    op0, op1 = register[:2]
    transfer = "xzr" if rt == 31 else f"x{rt}"
    if op0 == 1:
        operands = f"#{op1}, C{register[2]}, C{register[3]}, #{register[4]}"
        return f"sysl {transfer}, {operands}" if read else f"sys {operands}, {transfer}"
    name = system_name(register)
    return f"mrs {transfer}, {name}" if read else f"msr {name}, {transfer}"
