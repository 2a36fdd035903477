# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn's C interface, as far as the core calls it without the Python binding in between.

The binding costs half a microsecond a call and answers an exception in a callback by stopping at
once, which restarts the instruction that was executing. Here callbacks are plain C functions, and
what goes wrong in them is our business. Nothing here imports unicorn until `library` is called.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_uint, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

OK = 0
READ_UNMAPPED, WRITE_UNMAPPED, FETCH_UNMAPPED = 6, 7, 8
WRITE_PROT, READ_PROT, FETCH_PROT = 12, 13, 14
UNDEFINED, EXCEPTION = 10, 21
"""What `uc_emu_start` returns; EXCEPTION when the guest takes one and nobody hooks it, UNDEFINED
in its place for some that an AArch32 core takes.
"""

PROT_READ, PROT_WRITE, PROT_EXEC, PROT_ALL = 1, 2, 4, 7

MmioRead = CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint, c_void_p)
MmioWrite = CFUNCTYPE(None, c_void_p, c_uint64, c_uint, c_uint64, c_void_p)
InstructionBegins = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
MemoryAccessed = CFUNCTYPE(None, c_void_p, c_int, c_uint64, c_int, c_int64, c_void_p)
InvalidMemory = CFUNCTYPE(ctypes.c_bool, c_void_p, c_int, c_uint64, c_int, c_int64, c_void_p)


class CpRegister(ctypes.Structure):
    """A system register by its encoding, and its value."""

    _fields_ = (
        ("crn", c_uint32),
        ("crm", c_uint32),
        ("op0", c_uint32),
        ("op1", c_uint32),
        ("op2", c_uint32),
        ("value", c_uint64),
    )


class CoprocessorRegister(ctypes.Structure):
    """A register of an AArch32 coprocessor by its encoding, and its value."""

    _fields_ = (
        ("cp", c_uint32),
        ("is64", c_uint32),
        ("sec", c_uint32),
        ("crn", c_uint32),
        ("crm", c_uint32),
        ("opc1", c_uint32),
        ("opc2", c_uint32),
        ("value", c_uint64),
    )


class TlbEntry(ctypes.Structure):
    """Where a page is, and what may be done there (`PROT_READ` ...)."""

    _fields_ = (("paddr", c_uint64), ("perms", c_uint32))


class Block(ctypes.Structure):
    """A block of guest code that was translated: virtual address, instructions, bytes."""

    _fields_ = (("pc", c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


TlbMissed = CFUNCTYPE(ctypes.c_bool, c_void_p, c_uint64, c_int, POINTER(TlbEntry), c_void_p)
BlockMade = CFUNCTYPE(None, c_void_p, POINTER(Block), POINTER(Block), c_void_p)
SystemInstruction = CFUNCTYPE(c_uint32, c_void_p, c_uint32, POINTER(CpRegister), c_void_p)


@cache
def library() -> Any:
    """The Unicorn library, loaded on first use, with prototypes for every call made here."""
    from unicorn.unicorn_py3.unicorn import uclib

    uclib.uc_vmem_translate.argtypes = (c_void_p, c_uint64, c_uint32, POINTER(c_uint64))
    uclib.uc_vmem_translate.restype = c_int
    return uclib


def open_engine() -> Any:
    """A new AArch64 engine, through Unicorn's own binding."""
    import unicorn

    binding: Any = unicorn
    return binding.Uc(binding.UC_ARCH_ARM64, binding.UC_MODE_ARM)


def open_engine32() -> Any:
    """A new AArch32 engine with a Cortex-A15."""
    import unicorn
    from unicorn import arm_const

    binding: Any = unicorn
    uc = binding.Uc(binding.UC_ARCH_ARM, binding.UC_MODE_ARM)
    uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_A15)
    return uc


class UnicornError(Exception):
    """A call into Unicorn failed that cannot fail unless this package or Unicorn is wrong."""


def check(error: int, doing: str) -> None:
    """Raise UnicornError unless ``error`` is OK."""
    if error:
        text = library().uc_strerror(error).decode()
        raise UnicornError(f"Unicorn: {text} (error {error}) while {doing}")
