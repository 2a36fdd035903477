# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of software's accesses to the SMMU's registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.inject.armed import Access
from smmu_emu.inject.change import changed
from smmu_emu.inject.effects import Abort
from smmu_emu.inject.ports import Writes
from smmu_emu.smmuv3.spec.registers import REGISTERS

if TYPE_CHECKING:
    from smmu_emu.inject.injector import Injector

ReadRegister = Callable[[int, int], "int | None"]
WriteRegister = Callable[[int, int, int], "bool | None"]

_NAMES = {register.offset: name for name, register in REGISTERS.items()} | {
    register.offset + 4: name for name, register in REGISTERS.items() if register.size == 8
}


def install(injector: Injector) -> None:
    """Stand before the register window, if faults aim at it or wait there."""
    if injector.wants("register-read"):
        injector.stand_before(injector.smmu, "read", lambda function: _reader(injector, function))
    if injector.wants("register-write"):
        writes = Writes(injector, "register-write", lambda offset, _: {"name": _name(offset)})
        injector.stand_before(
            injector.smmu, "write", lambda function: _writer(injector, writes, function)
        )


def _name(offset: int) -> str:
    return _NAMES.get(offset, f"{offset:#x}")


def _reader(injector: Injector, function: ReadRegister) -> ReadRegister:
    def read(offset: int, size: int) -> int | None:
        name = _name(offset)
        injector.let_rest(Access("register-read", address=offset, name=name))
        value = function(offset, size)
        data = None if value is None else value.to_bytes(size, "little")
        access = Access("register-read", address=offset, data=data, name=name)
        for one in injector.struck(access):
            before = access.data
            if isinstance(one.fault.effect, Abort):
                access.data = None
            elif before is not None:
                access.data = changed(one.fault.effect, before, one.random)
            injector.tell(one, access, before, access.data)
        return None if access.data is None else int.from_bytes(access.data, "little")

    return read


def _writer(injector: Injector, writes: Writes, function: WriteRegister) -> WriteRegister:
    def write(offset: int, size: int, value: int) -> bool | None:
        name = _name(offset)
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        injector.let_rest(
            Access("register-write", address=offset, data=data, name=name, write=True)
        )

        def do(where: int, final: bytes) -> bool:
            return function(where, len(final), int.from_bytes(final, "little")) is not False

        return writes.write(do, offset, data)

    return write
