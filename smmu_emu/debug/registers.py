# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers that GDB sees, and the target description that tells it of them.

GDB's own feature ``org.gnu.gdb.aarch64.core`` comes first; system registers are a feature and a
group (``info registers system``) of their own. Those that rule the translation of the running code
can be looked at and not changed.

Reference: "Debugging with GDB", appendix G; DDI 0487 C5.2 (PSTATE).
Left out: the registers of SIMD and floating point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from smmu_emu.cpu.core import Core

_MODES = {1: frozenset((0b00000, 0b00100, 0b00101))}
_MODES[2] = _MODES[1] | {0b01000, 0b01001}
"""PSTATE.M of EL0t, EL1t and EL1h, EL2t and EL2h: where a guest can be that has EL1, or EL2."""
_RULING_EL2 = ("SCTLR", "HCR", "TCR", "TTBR0", "MAIR", "VTCR", "VTTBR")
_MODE_BITS = 0x1F
_SPSEL = 1


class Register(NamedTuple):
    """``name`` as GDB has it, ``source`` as the core has it; ``kind`` is GDB's type."""

    name: str
    source: str
    bits: int = 64
    kind: str = "uint64"
    writable: bool = True
    modes: frozenset[int] = frozenset()
    """What the lowest 5 bits may be changed to, if only that."""


CORE = (
    *(Register(f"x{n}", f"X{n}", kind="int") for n in range(31)),
    Register("sp", "SP", kind="data_ptr"),
    Register("pc", "PC", kind="code_ptr"),
    Register("cpsr", "PSTATE", 32, "cpsr_flags"),
)
SYSTEM = (
    Register("SCTLR_EL1", "SCTLR_EL1", writable=False),
    Register("TCR_EL1", "TCR_EL1", writable=False),
    Register("TTBR0_EL1", "TTBR0_EL1", writable=False),
    Register("TTBR1_EL1", "TTBR1_EL1", writable=False),
    Register("MAIR_EL1", "MAIR_EL1", writable=False),
    Register("CONTEXTIDR_EL1", "CONTEXTIDR_EL1", writable=False),
    Register("VBAR_EL1", "VBAR_EL1"),
    Register("ELR_EL1", "ELR_EL1"),
    Register("SPSR_EL1", "SPSR_EL1"),
    Register("ESR_EL1", "ESR_EL1"),
    Register("FAR_EL1", "FAR_EL1"),
    Register("SP_EL0", "SP_EL0", writable=False),
    Register("TPIDR_EL0", "TPIDR_EL0"),
    Register("TPIDR_EL1", "TPIDR_EL1"),
    *(Register(f"{name}_EL2", f"{name}_EL2", writable=False) for name in _RULING_EL2),
    *(Register(f"{name}_EL2", f"{name}_EL2") for name in ("VBAR", "ELR", "SPSR", "ESR", "FAR")),
    Register("HPFAR_EL2", "HPFAR_EL2"),
    Register("TPIDR_EL2", "TPIDR_EL2"),
)
"""Those of EL2 are zero, and stay so, where the guest does not have it."""
REGISTERS = CORE + SYSTEM

_FLAGS = (
    *(("SP", 0, 0), ("EL", 2, 3), ("nRW", 4, 4), ("F", 6, 6), ("I", 7, 7)),
    *(("A", 8, 8), ("D", 9, 9), ("IL", 20, 20), ("SS", 21, 21), ("PAN", 22, 22)),
    *(("V", 28, 28), ("C", 29, 29), ("Z", 30, 30), ("N", 31, 31)),
)


def target_xml() -> bytes:
    """The target description, target.xml."""
    return describe("aarch64", _FLAGS, CORE, SYSTEM)


def describe(
    architecture: str,
    flags: Sequence[tuple[str, int, int]],
    core: Sequence[Register],
    system: Sequence[Register],
) -> bytes:
    """A target description; ``flags`` are the fields of CPSR with their first and last bits."""
    fields = "".join(
        f'<field name="{name}" start="{first}" end="{last}"/>' for name, first, last in flags
    )
    lines = "".join(_line(register) for register in core)
    more = "".join(_line(register, ' group="system"') for register in system)
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">'
        f'<target version="1.0"><architecture>{architecture}</architecture>'
        f'<feature name="org.gnu.gdb.{architecture}.core">'
        f'<flags id="cpsr_flags" size="4">{fields}</flags>{lines}</feature>'
        f'<feature name="smmu-emu.{architecture}.system">{more}</feature></target>\n'
    ).encode()


def _line(register: Register, more: str = "") -> str:
    return f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.kind}"{more}/>'


def _is_absent(core: Core, register: Register) -> bool:
    """Whether it is one of an exception level that the guest does not have."""
    return register.name.endswith("_EL2") and core.highest_level < 2


def read(core: Core, register: Register) -> bytes:
    """The register's value, little-endian."""
    source = register.source
    if source == "SP_EL0" and not core.read("PSTATE") & _SPSEL:
        source = "SP"  # it is the stack pointer in use, and stored there
    if _is_absent(core, register):
        return bytes(register.bits // 8)
    value = core.read(source) & (1 << register.bits) - 1
    return value.to_bytes(register.bits // 8, "little")


def write(core: Core, register: Register, data: bytes) -> bool:
    """Change a register; False if it cannot be, or cannot have this value."""
    if len(data) != register.bits // 8:
        return False
    if register.modes and data[0] & _MODE_BITS not in register.modes:
        return False
    if read(core, register) == data:
        return True
    value = int.from_bytes(data, "little")
    if not register.writable or _is_absent(core, register):
        return False
    if register.source == "PSTATE" and value & _MODE_BITS not in _MODES[core.highest_level]:
        return False
    core.write(register.source, value)
    return True
