# SPDX-License-Identifier: GPL-2.0-or-later
"""One instruction in words; the only place that imports capstone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import capstone  # type: ignore[import-untyped]


@cache
def _engine(isa: str) -> capstone.Cs:
    import capstone

    if isa == "a64":
        return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    mode = capstone.CS_MODE_THUMB if isa == "t32" else capstone.CS_MODE_ARM
    return capstone.Cs(capstone.CS_ARCH_ARM, mode)


def disassemble(word: bytes, address: int, isa: str = "a64") -> str:
    """The instruction in ``word`` (4 bytes) as it would stand at ``address``: ``str w1, [x0]``.

    ``isa`` is "a64", "a32" or "t32".
    """
    for instruction in _engine(isa).disasm(word, address, 1):
        return f"{instruction.mnemonic} {instruction.op_str}".strip()
    return f".inst {int.from_bytes(word, 'little'):#010x}"
