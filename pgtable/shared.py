# SPDX-License-Identifier: GPL-2.0-or-later
"""`alloc`, `free`, `register` and `unregister` on the registry that the process shares.

`alloc` is overloaded by format name, so that a type checker knows which registers a table has.
"""

from __future__ import annotations

from typing import Any, Literal, overload

from pgtable.config import (
    AppleDartRegs,
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    ArmMaliLpaeRegs,
    ArmV7sRegs,
    PageTableConfig,
)
from pgtable.memory import TableMemory
from pgtable.registry import Format, formats
from pgtable.table import PageTable

Cfg = PageTableConfig
Memory = TableMemory | None


@overload
def alloc(
    fmt: Literal["ARM_64_LPAE_S1", "ARM_32_LPAE_S1"], cfg: Cfg, memory: Memory = None
) -> PageTable[ArmLpaeS1Regs]: ...
@overload
def alloc(
    fmt: Literal["ARM_64_LPAE_S2", "ARM_32_LPAE_S2"], cfg: Cfg, memory: Memory = None
) -> PageTable[ArmLpaeS2Regs]: ...
@overload
def alloc(
    fmt: Literal["ARM_MALI_LPAE"], cfg: Cfg, memory: Memory = None
) -> PageTable[ArmMaliLpaeRegs]: ...
@overload
def alloc(fmt: Literal["ARM_V7S"], cfg: Cfg, memory: Memory = None) -> PageTable[ArmV7sRegs]: ...
@overload
def alloc(
    fmt: Literal["APPLE_DART", "APPLE_DART2"], cfg: Cfg, memory: Memory = None
) -> PageTable[AppleDartRegs]: ...
@overload
def alloc(fmt: str, cfg: Cfg, memory: Memory = None) -> PageTable[Any]: ...
def alloc(fmt: str, cfg: Cfg, memory: Memory = None) -> PageTable[Any]:
    """Make an empty page table of a format; use it in a `with`, or `free` it.

    `memory`: where the tables are written, by default an `Arena` of its own.

    Raises: UnknownFormatError, FormatNotLoadableError, ConfigRefusedError, OutOfTableMemoryError.
    """
    return formats.alloc(fmt, cfg, memory)


def free(table: PageTable[Any]) -> None:
    """Free a table by the code that made it, whatever has been registered since."""
    table.close()


def register(fmt: Format) -> None:
    """Make a format available to `alloc`.

    Raises: FormatAlreadyRegisteredError.
    """
    formats.register(fmt)


def unregister(name: str) -> None:
    """Take a format away.

    Raises: FormatInUseError, FormatError.
    """
    formats.unregister(name)
