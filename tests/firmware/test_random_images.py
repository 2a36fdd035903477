# SPDX-License-Identifier: GPL-2.0-or-later
"""Random and damaged images end with a result or one line, never with a Python exception."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import qemu_virt

from smmu_emu.errors import ImageError
from smmu_emu.machine import Machine, RunResult

IMAGES_EACH = 120
LIMIT = 200_000
AT = 0x4010_0000


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine.virt() as machine:
        yield machine


def check(result: RunResult) -> None:
    assert 0 <= result.status <= 255
    assert result.reason
    assert "\n" not in result.reason
    assert result.instructions <= LIMIT


@pytest.mark.parametrize("batch", range(4))
def test_random_words_end_with_a_result(machine: Machine, batch: int) -> None:
    rng = random.Random(batch)
    for _ in range(IMAGES_EACH // 4):
        machine.reset()
        machine.load(rng.randbytes(4096), load_address=AT)
        check(machine.run(LIMIT))


@pytest.mark.parametrize("name", ["faults", "irq_faults", "cmdq_wrap", "dma_pages"])
def test_damaged_firmware_ends_with_a_result_or_is_refused(machine: Machine, name: str) -> None:
    rng = random.Random(name)
    good = (qemu_virt.IMAGES / f"{name}.elf").read_bytes()
    for _ in range(IMAGES_EACH // 4):
        damaged = bytearray(good)
        for _ in range(rng.choice((1, 5, 50))):
            damaged[rng.randrange(len(damaged) // 2)] = rng.getrandbits(8)
        machine.reset()
        try:
            machine.load(bytes(damaged))
        except ImageError:
            continue
        check(machine.run(LIMIT))
