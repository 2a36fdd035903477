# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that are dropped, repeated and overtaken, alone in the queue and among others."""

from __future__ import annotations

import pytest

from smmu_emu.inject import Drop, Duplicate, Effect, Reorder
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.testing import MachineUnderTest
from smmu_emu.trace.events import Command

_A, _B, _C = Opcode.TLBI_NSNH_ALL, Opcode.CFGI_STE, Opcode.TLBI_NH_ALL


def _consumed(batches: list[list[int]], effect: Effect) -> tuple[list[str], MachineUnderTest]:
    """Names of the commands that were consumed, when B is hit by an effect; each batch is rung for
    once."""
    machine = MachineUnderTest.build(kept=40)
    driver = machine.attach_driver()
    machine.tail.clear()
    machine.inject("command-fetch", effect, opcode="CFGI_STE")
    commands = driver.commands
    for batch in batches:
        for opcode in batch:
            commands.put(commands.prod, opcode)
            commands.prod += 1
        driver.registers.write("CMDQ_PROD", commands.prod)
    return [event.name for event in machine.tail if isinstance(event, Command)], machine


_NONE = "PREFETCH_CONFIG"


@pytest.mark.parametrize(
    ("effect", "batches", "names"),
    [
        (Drop(), [[_A, _B, _C]], [_A.name, _NONE, _C.name]),
        (Duplicate(), [[_A, _B, _C]], [_A.name, _B.name, _B.name, _C.name]),
        (Duplicate(3), [[_B, _C]], [_B.name] * 4 + [_C.name]),
        (Duplicate(), [[_A], [_B], [_C]], [_A.name, _B.name, _B.name, _C.name]),
        (Duplicate(), [[_A], [_B]], [_A.name, _B.name]),
        (Reorder(), [[_A, _B, _C]], [_A.name, _C.name, _B.name]),
        (Reorder(), [[_B, _A, _C]], [_A.name, _B.name, _C.name]),
        (Reorder(), [[_B], [_A], [_C]], [_NONE, _A.name, _B.name, _C.name]),
        (Reorder(), [[_A, _B], [_C, _A]], [_A.name, _NONE, _C.name, _B.name, _A.name]),
    ],
)
def test_commands_come_in_another_order_or_number(
    effect: Effect, batches: list[list[int]], names: list[str]
) -> None:
    consumed, machine = _consumed(batches, effect)
    assert consumed == names
    assert machine.smmu.commands.queue.empty
    assert machine.global_errors == set()


def test_repeated_commands_are_right_at_the_wrap_of_the_queue() -> None:
    machine = MachineUnderTest.build(kept=400)
    driver = machine.attach_driver(queue_lg2=2)
    machine.tail.clear()
    machine.inject("command-fetch", Duplicate(), opcode="CFGI_STE", times=20)
    for _ in range(10):
        driver.commands.issue(_B)
        driver.commands.issue(_A)
    names = [event.name for event in machine.tail if isinstance(event, Command)]
    assert names == [_B.name, _B.name, _A.name] * 10
    assert machine.smmu.commands.queue.empty
