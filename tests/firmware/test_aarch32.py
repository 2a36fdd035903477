# SPDX-License-Identifier: GPL-2.0-or-later
"""The AArch32 images print here, and on QEMU's Cortex-A15 where there is one, what was recorded."""

from __future__ import annotations

import random
import subprocess
import sys

import emulated
import pytest
import qemu_virt

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.machine import Machine

IMAGES = qemu_virt.IMAGES / "aarch32"
EXPECTED = qemu_virt.EXPECTED / "aarch32"
AT = 0x4010_0000
LONGEST_IT_BLOCK = 4
NAMES = sorted(image.stem for image in IMAGES.glob("*.elf"))


def text(name: str) -> str:
    return (EXPECTED / f"{name}.txt").read_text()


def test_every_image_has_a_recorded_text() -> None:
    assert sorted(path.stem for path in EXPECTED.glob("*.txt")) == NAMES
    assert len(NAMES) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_image_prints_the_text_of_qemu(name: str) -> None:
    with Machine.virt(cpu_model="cortex-a15") as machine:
        machine.load(IMAGES / f"{name}.elf")
        result = machine.run(emulated.LIMIT)
        assert machine.output.decode() == text(name)
        assert (result.kind, result.status) == (ExitKind.EXIT, 0)


@pytest.mark.parametrize("name", NAMES)
def test_image_on_qemu_prints_the_recorded_text(name: str) -> None:
    command, why_not = qemu_virt.find_qemu()
    if not command:
        pytest.skip(why_not)
    machine = [*command, *qemu_virt.MACHINE, "-cpu", "cortex-a15"]
    done = subprocess.run(
        [*machine, "-kernel", str(IMAGES / f"{name}.elf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout + done.stderr == text(name)
    assert done.returncode == 0


def test_report_names_the_a32_instruction_behind_a_fault() -> None:
    from smmu_emu.trace.summary import Recorder

    with Machine.virt(cpu_model="cortex-a15") as machine:
        machine.load(IMAGES / "dma.elf")
        recorder = Recorder(machine)
        summary = recorder.summary(machine.run(), IMAGES / "dma.elf")
        (refused,) = summary.refused
        assert refused.cause is not None
        assert (refused.cause.instruction() or "").startswith("ldr r")
        assert refused.cause.place.symbol == "dma"


def test_snapshot_of_an_aarch32_machine_goes_on_the_same_way() -> None:
    with Machine.virt(cpu_model="cortex-a15") as machine:
        machine.load(IMAGES / "timer.elf")
        machine.run(2000)
        snapshot = machine.snapshot()
        first = machine.run()
        output = bytes(machine.output)
        machine.restore(snapshot)
        assert machine.run() == first
        assert bytes(machine.output) == output


@pytest.mark.parametrize("kind", ["random", "always executed", "coprocessor", "t32"])
def test_random_code_ends_with_a_result(kind: str) -> None:
    chance = random.Random(kind)
    fixed = {"always executed": 0xE000_0000, "coprocessor": 0xEE00_0F10}.get(kind, 0)
    free = {"always executed": 28, "coprocessor": 24}.get(kind, 32)
    with Machine.virt(cpu_model="cortex-a15", ram=16 << 20) as machine:
        for _ in range(15):
            machine.reset()
            words = [fixed | chance.getrandbits(free) for _ in range(1024)]
            code = b"".join(word.to_bytes(4, "little") for word in words)
            machine.load(code, load_address=AT, entry=AT | (kind == "t32"))
            result = machine.run(50_000)
            assert 0 <= result.status <= 255
            assert result.reason
            assert result.instructions <= 50_000 + LONGEST_IT_BLOCK


def test_checker_and_provenance_know_32_bit_cores() -> None:
    command = [sys.executable, "-m", "smmu_emu", "run", str(IMAGES / "dma.elf")]
    command += ["--cpu", "cortex-a15"]

    def said(option: str) -> str:
        done = subprocess.run(
            [*command, option], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "stale-tlb-hit: stream 0x8 wrote through 0x20300080" in said("--check")
    assert "`strb r1, [r3], #1`" in said("--provenance")
