# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of an AArch32 core that GDB sees, and the description that tells it of them.

GDB's own feature ``org.gnu.gdb.arm.core`` comes first; registers of coprocessor 15 are a feature
and a group (``info registers system``) of their own.

Reference: "Debugging with GDB", appendix G; DDI 0406 B1.3 (CPSR).
Left out: the registers of SIMD and floating point, and those of other modes.
"""

from __future__ import annotations

from smmu_emu.debug.registers import Register, describe

_MODES = frozenset((0x10, 0x11, 0x12, 0x13, 0x17, 0x1B, 0x1F))
"""CPSR.M where the guest can be."""

CORE = (
    *(Register(f"r{n}", f"R{n}", 32, "uint32") for n in range(13)),
    Register("sp", "SP", 32, "data_ptr"),
    Register("lr", "LR", 32, "uint32"),
    Register("pc", "PC", 32, "code_ptr"),
    Register("cpsr", "CPSR", 32, "cpsr_flags", modes=_MODES),
)
SYSTEM = (
    *(
        Register(name, name, 32, "uint32", writable=False)
        for name in ("SCTLR", "TTBCR", "TTBR0", "TTBR1", "DACR", "CONTEXTIDR")
    ),
    *(
        Register(name, name, 32, "uint32")
        for name in ("VBAR", "SPSR", "DFSR", "DFAR", "IFSR", "IFAR", "TPIDRURW", "TPIDRPRW")
    ),
)
REGISTERS = CORE + SYSTEM

_FLAGS = (
    *(("M", 0, 4), ("T", 5, 5), ("F", 6, 6), ("I", 7, 7), ("A", 8, 8), ("E", 9, 9)),
    *(("GE", 16, 19), ("J", 24, 24), ("Q", 27, 27)),
    *(("V", 28, 28), ("C", 29, 29), ("Z", 30, 30), ("N", 31, 31)),
)


def target_xml() -> bytes:
    """The target description, target.xml."""
    return describe("arm", _FLAGS, CORE, SYSTEM)
