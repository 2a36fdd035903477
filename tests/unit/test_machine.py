# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine: how runs end, what they leave, and that they repeat.

Programs are a few A64 instructions, assembled by hand.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.devices.reporter import Site
from smmu_emu.errors import ConfigurationError, ImageError
from smmu_emu.machine import EXIT_STATUS, Machine

IMAGES = Path(__file__).resolve().parents[2] / "firmware" / "images"
AT = 0x4010_0000

MOV_X2_UART = 0xD2A1_2002  # mov x2, #0x9000000
STR_W3_X2 = 0xB900_0043  # str w3, [x2]
MOV_W3_A = 0x5280_0823  # mov w3, #'A'
LDR_W3_X2_80 = 0xB940_8043  # ldr w3, [x2, #0x80]
LDR_W3_X4 = 0xB940_0083  # ldr w3, [x4]
HVC = 0xD400_0002  # hvc #0
POWER_OFF = (0x5280_0100, 0x72B0_8000, HVC)  # mov w0, #0x84000008
RESET = (0x5280_0120, 0x72B0_8000, HVC)  # mov w0, #0x84000009
WFI = 0xD503_207F
NOP = 0xD503_201F
SPIN = (0x9100_0400, 0x17FF_FFFF)  # add x0, x0, #1; b .-4


def program(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def exit_with(status: int) -> bytes:
    """mov w0, #SYS_EXIT; adr x1, block; hlt #0xf000; nop; block: ApplicationExit, status."""
    code = program(0x5280_0300, 0x1000_0061, 0xD45E_0000, NOP)
    return code + (0x20026).to_bytes(8, "little") + status.to_bytes(8, "little")


def machine_with(code: bytes, **options: object) -> Machine:
    machine = Machine.virt(**options)  # type: ignore[arg-type]
    machine.load(code, load_address=AT)
    return machine


# -- how runs end


@pytest.mark.parametrize(
    ("code", "limit", "kind", "status"),
    [
        (exit_with(0), None, ExitKind.EXIT, 0),
        (exit_with(42), None, ExitKind.EXIT, 42),
        (exit_with(0x1_0107), None, ExitKind.EXIT, 7),
        (program(*POWER_OFF), None, ExitKind.POWER_OFF, 0),
        (program(*RESET), None, ExitKind.RESET, 127),
        (program(*SPIN), 1000, ExitKind.MAX_INSTRUCTIONS, 124),
        (program(WFI), None, ExitKind.DEADLOCK, 125),
        (program(LDR_W3_X4), None, ExitKind.LOCKUP, 126),
        (program(0), None, ExitKind.LOCKUP, 126),
    ],
    ids=lambda value: "code" if isinstance(value, bytes) else str(value),
)
def test_end_of_a_run_has_a_kind_and_a_status(
    code: bytes, limit: int | None, kind: ExitKind, status: int
) -> None:
    with machine_with(code) as machine:
        result = machine.run(limit)
    assert (result.kind, result.status) == (kind, status)
    assert result.reason
    assert "\n" not in result.reason


def test_statuses_of_the_emulator_are_distinct_and_beyond_common_ones() -> None:
    own = [EXIT_STATUS[kind] for kind in EXIT_STATUS if kind is not ExitKind.POWER_OFF]
    assert sorted(own) == [124, 125, 126, 127]
    assert set(ExitKind) - set(EXIT_STATUS) == {
        ExitKind.EXIT,
        ExitKind.BREAKPOINT,
        ExitKind.WATCHPOINT,
        ExitKind.DEVICE,
    }


def test_instructions_are_counted() -> None:
    with machine_with(program(NOP, NOP, *POWER_OFF)) as machine:
        assert machine.run().instructions == 5


def test_run_goes_on_where_the_limit_stopped_it() -> None:
    with machine_with(program(*[NOP] * 100, *POWER_OFF)) as machine:
        first = machine.run(40)
        assert (first.kind, first.pc) == (ExitKind.MAX_INSTRUCTIONS, AT + 160)
        last = machine.run()
        assert (last.kind, last.instructions) == (ExitKind.POWER_OFF, 103)


def test_device_may_end_the_run() -> None:
    with machine_with(program(MOV_X2_UART, MOV_W3_A, STR_W3_X2, *SPIN)) as machine:
        machine.console = lambda _: machine.core.request_exit("heard enough", 3)
        result = machine.run(10_000)
    assert (result.kind, result.status, result.reason) == (ExitKind.DEVICE, 3, "heard enough")


# -- the console


def test_output_is_collected_and_handed_on() -> None:
    heard = list[bytes]()
    code = program(MOV_X2_UART, MOV_W3_A, STR_W3_X2, STR_W3_X2, *POWER_OFF)
    with machine_with(code, console=heard.append) as machine:
        machine.run()
    assert machine.output == b"AA"
    assert heard == [b"A", b"A"]


def test_feed_reaches_the_uart() -> None:
    with Machine.virt() as machine:
        machine.feed(b"x")
        assert machine.memory.read(0x0900_0000, 1) == b"x"


# -- what is not modelled


def test_register_that_is_missing_is_told_with_its_instruction() -> None:
    with machine_with(program(MOV_X2_UART, LDR_W3_X2_80, LDR_W3_X2_80, *POWER_OFF)) as machine:
        machine.run()
        assert machine.unmodelled == [
            Site(0x0900_0080, AT + 4, "read", "pl011"),
            Site(0x0900_0080, AT + 8, "read", "pl011"),
        ]


def test_address_that_nobody_answers_is_told_with_its_instruction() -> None:
    with machine_with(program(LDR_W3_X4)) as machine:
        machine.run()
        assert machine.unmodelled[0] == Site(0, AT, "read", "nothing")


def test_system_register_that_is_missing_is_told() -> None:
    with machine_with(program(0xD53C_1100, *POWER_OFF)) as machine:  # mrs x0, hcr_el2
        machine.run()
        assert [(site.pc, site.pa) for site in machine.unmodelled][:1] == [(AT, None)]
        assert "HCR_EL2" in machine.unmodelled[0].where


def test_dma_outside_of_a_run_has_no_instruction() -> None:
    with Machine.virt(iommu=None) as machine:
        machine.dma(1).read(0, 4)
        assert machine.unmodelled == [Site(0, None, "read", "nothing")]


# -- parts


def test_single_transactions_need_no_image_and_no_core() -> None:
    machine = Machine.virt()
    port = machine.dma(0x8)
    assert port.write(0x4000_1000, b"hello")  # an SMMU that is off lets everything pass
    assert machine.memory.read(0x4000_1000, 5) == b"hello"
    assert machine.dma(0x8) is port
    assert port in machine.dma_ports
    assert machine._core is None


def test_machine_without_smmu_says_so() -> None:
    machine = Machine.virt(iommu=None)
    with pytest.raises(ConfigurationError, match="built without an SMMU"):
        _ = machine.smmu
    assert machine.dma(1).translator is None


def test_devices_have_names() -> None:
    machine = Machine.virt(devices=["iommu-testdev", "iommu-testdev@00:05.0"])
    assert list(machine.devices) == [
        "gic",
        "v2m",
        "pl011",
        "pl031",
        "pcie",
        "smmu0",
        "host bridge@00:00.0",
        "iommu-testdev@00:01.0",
        "iommu-testdev@00:05.0",
    ]
    assert machine.devices["smmu0"] is machine.smmu


def test_ram_size_is_chosen() -> None:
    machine = Machine.virt(ram=64 << 20)
    assert (machine.ram.base, machine.ram.size) == (0x4000_0000, 64 << 20)
    assert machine.memory.read(0x4400_0000, 1) is None


def test_running_core_is_known_during_a_run_only() -> None:
    with machine_with(program(MOV_X2_UART, MOV_W3_A, STR_W3_X2, *POWER_OFF)) as machine:
        seen = list[int | None]()

        def listen(_: bytes) -> None:
            core = machine.running_core
            seen.append(None if core is None else core.pc)

        machine.console = listen
        assert machine.running_core is None
        machine.run()
        assert seen == [AT + 8]
        assert machine.running_core is None


# -- misuse


def test_nothing_to_run() -> None:
    with pytest.raises(ConfigurationError, match="load an image first"):
        Machine.virt().run()


def test_negative_limit() -> None:
    with machine_with(program(*SPIN)) as machine, pytest.raises(ConfigurationError):
        machine.run(-1)


def test_unknown_core() -> None:
    machine = machine_with(program(NOP), cpu_model="z80")
    with machine, pytest.raises(ConfigurationError, match="z80"):
        machine.run()


def test_bad_image_leaves_the_one_before() -> None:
    with machine_with(exit_with(5)) as machine:
        with pytest.raises(ImageError):
            machine.load(b"garbage")
        assert machine.run().status == 5


@pytest.mark.parametrize("method", ["run", "reset", "close"])
def test_machine_that_runs_is_not_run_reset_or_closed_by_its_devices(method: str) -> None:
    with machine_with(program(MOV_X2_UART, MOV_W3_A, STR_W3_X2, *POWER_OFF)) as machine:
        machine.console = lambda _: getattr(machine, method)()
        with pytest.raises(ConfigurationError, match="the machine runs"):
            machine.run()
        machine.console = None
        assert machine.run().kind is ExitKind.POWER_OFF


def test_closed_machine() -> None:
    machine = machine_with(exit_with(0))
    machine.close()
    machine.close()
    with pytest.raises(ConfigurationError, match="closed"):
        machine.run()


# -- repetition


@pytest.mark.parametrize("name", ["hello", "irq_faults", "timer", "unmap_tlbi"])
def test_run_after_reset_is_the_run_again(name: str) -> None:
    with Machine.virt() as machine:
        machine.load(IMAGES / f"{name}.elf")
        first, output = machine.run(), bytes(machine.output)
        memory, counts = bytes(machine.ram.view[: 128 << 20]), statistics(machine)
        machine.reset()
        assert machine.output == b""
        assert machine.memory.read(AT, 4) != bytes(4)
        assert machine.run() == first
        assert machine.output == output
        assert bytes(machine.ram.view[: 128 << 20]) == memory
        assert statistics(machine) == counts


def statistics(machine: Machine) -> tuple[object, ...]:
    path = machine.smmu.path
    ports = [port.transactions for port in machine.dma_ports]
    consumed = dict(machine.smmu.commands.consumed)
    return path.hits, path.misses, ports, consumed, list(machine.unmodelled)


@pytest.mark.parametrize("step", [1_000, 9_973])
def test_run_in_steps_is_the_run_in_one(step: int) -> None:
    results = []
    for limit in (None, step):
        with Machine.virt() as machine:
            machine.load(IMAGES / "irq_faults.elf")
            result = machine.run(limit)
            while result.kind is ExitKind.MAX_INSTRUCTIONS:
                result = machine.run(limit)
            results.append((result, bytes(machine.output), machine.clock.now))
    assert results[0] == results[1]


def test_two_machines_do_not_touch_each_other() -> None:
    with machine_with(exit_with(1)) as one, machine_with(exit_with(2)) as two:
        one.memory.write(0x4800_0000, b"one")
        assert (two.run().status, one.run().status) == (2, 1)
        assert two.memory.read(0x4800_0000, 3) == bytes(3)


def test_blob_is_there_after_reset_and_its_damage_is_not() -> None:
    with machine_with(exit_with(0)) as machine:
        machine.load_blob(0x4800_0000, b"tables", name="tables")
        machine.memory.write(0x4800_0000, b"damage")
        machine.memory.write(0x4900_0000, b"damage")
        machine.reset()
        assert machine.memory.read(0x4800_0000, 6) == b"tables"
        assert machine.memory.read(0x4900_0000, 6) == bytes(6)


# -- weight


def test_machine_is_made_and_reset_fast_and_without_heavy_libraries() -> None:
    code = (
        "import sys; from smmu_emu.machine import Machine; Machine.virt().reset(); "
        "print(sorted({'unicorn', 'capstone', 'elftools', 'numpy', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_machine_is_made_and_reset_in_under_three_milliseconds() -> None:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        Machine.virt().reset()
        times.append(time.perf_counter() - start)
    assert min(times) < 3e-3
