# SPDX-License-Identifier: GPL-2.0-or-later
"""One AArch64 instruction in words; the only place that imports capstone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import capstone  # type: ignore[import-untyped]


@cache
def _engine() -> capstone.Cs:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


def disassemble(word: bytes, address: int) -> str:
    """The instruction in ``word`` (4 bytes) as it would stand at ``address``: ``str w1, [x0]``."""
    for instruction in _engine().disasm(word, address, 1):
        return f"{instruction.mnemonic} {instruction.op_str}".strip()
    return f".inst {int.from_bytes(word, 'little'):#010x}"
