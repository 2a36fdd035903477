# SPDX-License-Identifier: GPL-2.0-or-later
"""Device registers of QEMU's virt board, read and written through its qtest protocol.

Reference: QEMU's docs/devel/testing/qtest.rst. The core stays stopped.
"""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Self

import qemu_virt

_SUFFIX = {1: "b", 2: "w", 4: "l", 8: "q"}


class QemuRegisters:
    """A stopped QEMU; `read` and `write` go to physical addresses."""

    def __init__(self) -> None:
        options = [option for option in qemu_virt.MACHINE if option not in ("-serial", "stdio")]
        self._process = subprocess.Popen(
            [*qemu_virt.find_qemu()[0], *options, "-S", "-qtest", "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        while (answer := self._process.stdout.readline()).startswith("IRQ"):
            pass
        assert answer.startswith("OK"), f"{line}: {answer!r}"
        return answer.split()

    def read(self, pa: int, size: int) -> int:
        """The value; 0 where QEMU has a bus error."""
        answer = self._ask(f"read{_SUFFIX[size]} {pa:#x}")[1]
        return int(answer, 16) & (1 << 8 * size) - 1

    def write(self, pa: int, size: int, value: int) -> None:
        self._ask(f"write{_SUFFIX[size]} {pa:#x} {value & (1 << 8 * size) - 1:#x}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
