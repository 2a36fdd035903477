# SPDX-License-Identifier: GPL-2.0-or-later
"""A run that goes on from a snapshot is the run that was not interrupted, to the last byte.

Two machines are compared by everything they hold (`everything`): what a snapshot in a file would
tell, the core by its registers.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pgtable import Arena
from smmu_emu.cpu.names import SYSTEM
from smmu_emu.cpu.watchpoints import WatchKind, Watchpoint
from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.device import Delays
from smmu_emu.snapshot import Snapshot
from smmu_emu.state import StateError, shape_of
from smmu_emu.trace.provenance import Provenance
from smmu_emu.trace.tracer import Tracer
from tests.firmware import setups

IMAGES = Path(__file__).resolve().parents[2] / "firmware" / "images"
TESTDEV = "iommu-testdev@00:01.0"
LIMIT = 300_000

BOARDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without SMMU": {"iommu": None},
    "counter group": {"pmcg": True},
    "GICv3": {"gic": "v3"},
    "core behind the SMMU": {"core_stream": 0x20},
    "adversary": {"policy": "evict,prefetch,late-commands,seed=3"},
    "everything": {
        "devices": (
            "iommu-testdev",
            "edu",
            "dma-engine",
            "smmu-test-engine",
            "pcie-root-port,id=rp",
            "edu,bus=rp",
            "virtio-net-pci",
            "virtio-console-pci",
        ),
        "smmu_ids": PRESETS["full"],
        "pmcg": True,
    },
}


def machine_for(image: str) -> Machine:
    """The machine that an image wants, with the image loaded."""
    setup = setups.of(image)
    machine = setup.machine()
    machine.load(IMAGES / f"{image}.elf", el=setup.el)
    return machine


def everything(machine: Machine) -> tuple[Any, ...]:
    """All that a machine holds, comparable with another machine's."""
    contents = machine.snapshot().contents()
    # The engine keeps a number of the host's clock among its registers.
    nodes = [node for node in contents.nodes if not node.cls.endswith("Engine")]
    core = machine.core
    registers = [core.read(name) for name in ("PC", "SP", "PSTATE", *SYSTEM) if name in READABLE]
    vectors = [core.read(f"Q{n}") for n in (0, 31) if "Q0" in READABLE]
    return nodes, registers, vectors, [core.x(n) for n in range(31)], contents.time


READABLE = frozenset(("PC", "SP", "PSTATE")) | SYSTEM.keys() - {"PAR_EL1"}


@pytest.mark.parametrize(
    "image",
    ["hello", "stall", "ats", "irq_faults", "timer", "its", "cmdq_wrap", "el2", "core_stream"],
)
@pytest.mark.parametrize("delays", [False, True], ids=["inline", "delays"])
def test_run_goes_on_from_a_snapshot_as_if_uninterrupted(
    image: str, delays: bool, tmp_path: Path
) -> None:
    def make() -> Machine:
        machine = machine_for(image)
        if delays:
            machine.smmu.delays = Delays(acknowledge=700, commands=2500)
        return machine

    with make() as machine:
        whole = machine.run(LIMIT)
        end = everything(machine)
    dice = random.Random(f"{image} {delays}")
    for _ in range(2):
        at = dice.randrange(1, whole.instructions)
        with make() as machine:
            machine.run(at)
            snapshot = machine.snapshot()
            for number in range(2):
                result = machine.run(LIMIT - at)
                assert (result.instructions, result.pc) == (whole.instructions, whole.pc), at
                assert everything(machine) == end, (at, number)
                machine.restore(snapshot)
                assert machine.instructions == snapshot.instructions == at
            snapshot.save(tmp_path / "snapshot")
        with Machine.load_snapshot(tmp_path / "snapshot") as machine:
            result = machine.run(LIMIT - at)
            assert result.instructions == whole.instructions, at
            assert everything(machine) == end, at


def until(machine: Machine, wanted: Callable[[], Any], step: int) -> None:
    """Run in short steps until something is the case."""
    for _ in range(20_000):
        machine.run(step)
        if wanted():
            return
    raise AssertionError("it never came to that")


def pending(machine: Machine) -> list[Any]:
    return [entry for entry in machine.clock._heap if entry[2].action is not None]


def test_appointments_that_wait_are_part_of_it(tmp_path: Path) -> None:
    with machine_for("cmdq_wrap") as machine:
        machine.smmu.delays = Delays(acknowledge=700, commands=2500)
        until(machine, lambda: len(pending(machine)) >= 1, 37)
        snapshot = machine.snapshot()
        snapshot.save(tmp_path / "snapshot")
        result = machine.run(LIMIT)
        end = everything(machine)
        machine.restore(snapshot)
        assert len(pending(machine)) >= 1
        assert machine.run(LIMIT) == result
        assert everything(machine) == end
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert len(pending(machine)) >= 1
        assert machine.run(LIMIT).instructions == result.instructions
        assert everything(machine) == end


def test_stalled_transaction_is_part_of_it(tmp_path: Path) -> None:
    with machine_for("stall") as machine:
        until(machine, lambda: machine.smmu.stalls.held, 25)
        snapshot = machine.snapshot()
        snapshot.save(tmp_path / "snapshot")
        result = machine.run(LIMIT)
        assert result.status == 0
        end = everything(machine)
        for _ in range(2):
            machine.restore(snapshot)
            assert machine.smmu.stalls.held
            assert machine.run(LIMIT) == result
            assert everything(machine) == end
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert machine.smmu.stalls.held
        assert machine.run(LIMIT) == result
        assert everything(machine) == end


def test_several_snapshots_come_back_in_any_order() -> None:
    with machine_for("irq_faults") as machine:
        snapshots, states = [machine.snapshot()], [None]
        for _ in range(3):
            machine.run(9_000)
            states.append(everything(machine))
            snapshots.append(machine.snapshot())
        machine.run(LIMIT)
        end = everything(machine)
        for number in (2, 0, 3, 1, 1, 3):
            machine.restore(snapshots[number])
            if number:
                assert everything(machine) == states[number]
                continue
            machine.run(LIMIT)
            assert everything(machine) == end


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_can_be_kept_and_told(board: str, tmp_path: Path) -> None:
    with Machine.virt(**BOARDS[board]) as machine:
        machine.load(IMAGES / "timer.elf")
        machine.run(3000)
        machine.snapshot().save(tmp_path / "snapshot")
        result = machine.run(LIMIT)
        end = everything(machine)
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert machine.run(LIMIT) == result
        assert everything(machine) == end


@pytest.mark.parametrize("board", BOARDS)
def test_every_attribute_is_kept_or_declared(board: str) -> None:
    """And what is declared wiring is never wired anew while a machine runs."""
    with Machine.virt(**BOARDS[board]) as machine:
        machine.load(IMAGES / "timer.elf")
        machine.run(500)
        kept = machine.snapshot()._kept
        assert kept is not None
        saved: dict[int, set[str]] = {}
        for part, _, attributes, _ in kept.objects:
            saved.setdefault(id(part), set()).update(attributes)
        for part, slots in kept.slotted:
            saved.setdefault(id(part), set()).update(name for name, _ in slots)
        wired = []
        for part in _reachable(machine):
            shape = shape_of(type(part))
            assert shape is not None, type(part)
            if "*" in shape.unsaved:
                continue
            names = {*getattr(part, "__dict__", ()), *shape.slots, *shape.slot_wiring}
            declared = shape.wiring | shape.unsaved | getattr(part, "interposed", {}).keys()
            forgotten = names - saved.get(id(part), set()) - declared
            assert not forgotten, f"{type(part)}: {forgotten}"
            wired += [(part, name, getattr(part, name, None)) for name in shape.wiring]
        machine.run(LIMIT)
        for part, name, value in wired:
            assert getattr(part, name, None) is value, f"{type(part).__name__}.{name} is no wiring"


def _reachable(root: object) -> Iterator[Any]:
    """Objects of this package that can be reached, found by other means than a snapshot's."""
    import gc

    seen, ahead = {id(root)}, [root]
    while ahead:
        value = ahead.pop()
        ours = type(value).__module__.startswith("smmu_emu")
        if ours and not isinstance(value, tuple | int | Enum):
            yield value
            shape = shape_of(type(value))
            if shape is None or "*" in shape.unsaved:
                continue
            attributes = getattr(value, "__dict__", {})
            seen.update(
                id(attributes.get(name, getattr(type(value), name, None))) for name in shape.unsaved
            )
        for item in gc.get_referents(value):
            foreign = isinstance(item, type) or type(item).__name__ in ("module", "frame")
            if not foreign and id(item) not in seen and not _is_globals(item):
                seen.add(id(item))
                ahead.append(item)


def _is_globals(item: object) -> bool:
    return isinstance(item, dict) and ("__builtins__" in item or "__name__" in item)


# -- the core


def test_code_that_was_written_since_is_translated_anew() -> None:
    """Two programs at one address, one after the other: each run executes what is in RAM."""
    mov_w0, hlt = 0x5280_0000, 0xD503_207F

    def program(number: int) -> bytes:
        return struct.pack("<2I", mov_w0 | number << 5, hlt)

    with Machine.virt() as machine:
        machine.load(program(1), load_address=0x4010_0000)
        machine.run(1)
        assert machine.core.x(0) == 1
        machine.core.write("PC", 0x4010_0000)
        first = machine.snapshot()
        machine.memory.write(0x4010_0000, program(2))
        second = machine.snapshot()
        for snapshot, number in ((first, 1), (second, 2), (first, 1), (second, 2), (second, 2)):
            machine.restore(snapshot)
            machine.run(1)
            assert machine.core.x(0) == number


def test_breakpoints_and_watchpoints_stay_with_the_debugger() -> None:
    with machine_for("hello") as machine:
        machine.run(100)
        snapshot, here = machine.snapshot(), machine.core.pc
        machine.core.add_breakpoint(here)
        watchpoint = Watchpoint(WatchKind.WRITE, 0x4800_0000, 8)
        machine.core.add_watchpoint(watchpoint)
        machine.restore(snapshot)
        assert machine.core.breakpoints == {here}
        assert machine.run(0).pc == here
        machine.core.remove_breakpoint(here)
        machine.core.remove_watchpoint(watchpoint)
        machine.restore(snapshot)
        assert machine.run(LIMIT).status == 0


@pytest.mark.parametrize("image", ["timer", "its", "core_stream"])
def test_snapshot_from_before_the_core_was_made_starts_it_anew(image: str) -> None:
    with machine_for(image) as machine:
        before = machine.snapshot()
        result = machine.run(LIMIT)
        end = everything(machine)
        for _ in range(2):
            machine.restore(before)
            assert (machine.instructions, machine.clock.now, machine.output) == (0, 0, b"")
            assert machine.run(LIMIT) == result
            assert everything(machine)[1:] == end[1:]


def test_core_of_32_bits_goes_back_and_into_a_file(tmp_path: Path) -> None:
    """mov r1, #0x48000000; then for ever: str r0, [r1]; add r0, r0, #1"""
    code = struct.pack("<4I", 0xE3A0_1312, 0xE581_0000, 0xE280_0001, 0xEAFF_FFFC)
    with Machine.virt(cpu_model="cortex-a15") as machine:
        before = machine.snapshot()
        machine.load(code, load_address=0x4010_0000)
        machine.run(500)
        snapshot = machine.snapshot()
        snapshot.save(tmp_path / "snapshot")
        end = machine.run(1000), machine.core.x(0), machine.memory.read_u64(0x4800_0000)
        for _ in range(2):
            machine.restore(snapshot)
            again = machine.run(1000), machine.core.x(0), machine.memory.read_u64(0x4800_0000)
            assert again == end
        machine.restore(before)
        assert machine.memory.read_u64(0x4010_0000) == 0
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert (machine.run(1000), machine.core.x(0)) == end[:2]


# -- around the machine


def test_others_that_belong_to_it_are_kept_with_it() -> None:
    notes = {"mapped": [1]}
    with machine_for("hello") as machine:
        snapshot = machine.snapshot(notes)
        notes["mapped"].append(2)
        machine.restore(snapshot)
        assert notes == {"mapped": [1]}
        with pytest.raises(ConfigurationError, match="holds more than a machine"):
            snapshot.save("/nowhere")


def test_driver_in_python_goes_back_with_its_machine() -> None:
    with Machine.virt() as machine:
        arena = Arena(0x4800_0000, 4 << 20, machine.ram.view[0x800_0000:])
        driver = Smmuv3Driver(machine.smmu, arena)
        domain = driver.domain()
        domain.map(0x10_0000, 0x5000_0000, 0x4_0000)
        driver.attach(8, domain)
        port = machine.dma(8)
        snapshot = machine.snapshot(driver)
        used = arena.used
        for _ in range(3):
            domain.unmap(0x10_0000, 0x1000)
            domain.map(0x90_0000, 0x5800_0000, 0x1000)
            driver.domain().map(0x5000, 0x5100_0000, 0x1000)
            assert not port.write(0x10_0000, b"x")
            assert port.write(0x90_0000, b"x")
            machine.restore(snapshot)
            assert arena.used == used
            assert len(driver.asids) == 1
            assert port.write(0x10_0000, b"x")
            assert not port.write(0x90_0000, b"x")


def test_disk_that_is_written_through_refuses(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 16))
    with (
        Machine.virt(disks=[Disk(path)]) as machine,
        pytest.raises(ConfigurationError, match=r"disk .*: writes go to the file.*mode snapshot"),
    ):
        machine.snapshot()


def test_writes_beside_a_disk_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"\xaa" * 1024)
    with Machine.virt(disks=[Disk(path, DiskMode.SNAPSHOT)]) as machine:
        machine.load(IMAGES / "hello.elf")
        disk = machine.board.disks[0]
        disk.write(1, b"\xbb" * 512)
        snapshot = machine.snapshot()
        disk.write(0, b"\xcc" * 512)
        machine.restore(snapshot)
        assert disk.read(0, 1024) == b"\xaa" * 512 + b"\xbb" * 512
        snapshot.save(tmp_path / "snapshot")
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert machine.board.disks[0].read(0, 1024) == b"\xaa" * 512 + b"\xbb" * 512
    path.write_bytes(b"\xab" * 1024)
    with pytest.raises(ConfigurationError, match="is not as the snapshot left"):
        Machine.load_snapshot(tmp_path / "snapshot")


def test_running_machine_and_alien_snapshot_are_refused() -> None:
    with machine_for("hello") as one, machine_for("hello") as other:
        with pytest.raises(ConfigurationError, match="taken of another machine"):
            other.restore(one.snapshot())
        raised = []

        def from_inside() -> None:
            try:
                one.snapshot()
            except ConfigurationError as error:
                raised.append(str(error))

        one.clock.after(50, from_inside)
        one.run(200)
        assert raised == ["the machine runs: end that with core.request_exit first"]


# -- files


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with machine_for("hello") as machine:
        machine.run(300)
        machine.snapshot().save(tmp_path / "snapshot")
    return tmp_path / "snapshot"


def _damage(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "no snapshot of a machine"),
        (lambda data: b"\x7fELF" + data, "no snapshot of a machine"),
        (lambda data: data[:20], "no snapshot of a machine"),
        (lambda data: data[:-1], "truncated or too long"),
        (lambda data: data + b"x", "truncated or too long"),
        (lambda data: _damage(data, 8), "format 0; this version reads 1"),
        (lambda data: _damage(data, 2000), "damaged: the checksum is wrong"),
    ],
    ids=["empty", "ELF", "header", "cut", "longer", "format", "bit"],
)
def test_bad_file_is_told_in_one_line(
    saved: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(ConfigurationError) as caught:
        Machine.load_snapshot(saved)
    assert message in str(caught.value)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_runs_no_code(saved: Path) -> None:
    """Whoever makes a checksum may put anything into a file: it is still only data."""
    import hashlib
    import pickle
    import zlib

    from smmu_emu import snapshot_file

    packed = zlib.compress(pickle.dumps((print, "no")))
    head = struct.pack("<8sIQ32s", b"SMMUSNAP", 1, len(packed), hashlib.sha256(packed).digest())
    saved.write_bytes(head + packed)
    with pytest.raises(ConfigurationError, match=r"damaged: builtins\.print"):
        snapshot_file.read(saved)


def test_other_version_and_other_board_are_told(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Machine.virt(ram=256 << 20, devices=(TESTDEV,)) as machine,
        pytest.raises(ConfigurationError, match="another board: its ram is 536870912, this mach"),
    ):
        machine.restore(Snapshot.load(saved))
    with (
        Machine.virt(devices=(TESTDEV, "edu")) as machine,
        pytest.raises(ConfigurationError, match="another board: its devices is"),
    ):
        machine.restore(Snapshot.load(saved))
    monkeypatch.setattr("smmu_emu.snapshot_file.package_version", lambda: "99")
    with pytest.raises(ConfigurationError, match=r"written by smmu-emu .*; this is 99"):
        Snapshot.load(saved)


def test_file_suits_every_machine_of_its_board_used_or_not(saved: Path) -> None:
    with machine_for("hello") as machine:
        machine.run(300)
        wanted = everything(machine)
        whole = machine.run(LIMIT)
        loaded = Snapshot.load(saved)
        for _ in range(2):
            machine.restore(loaded)
            assert everything(machine) == wanted
            assert machine.run(LIMIT) == whole
    with machine_for("hello") as another:
        another.restore(loaded)
        assert another.run(LIMIT) == whole


def test_appointment_without_a_name_is_told_and_stays_possible_in_memory(tmp_path: Path) -> None:
    done = []
    with machine_for("hello") as machine:
        machine.clock.after(10_000_000, lambda: done.append(1))
        snapshot = machine.snapshot()
        with pytest.raises(StateError, match=r"an? Appointment\.action holds .*<lambda>"):
            snapshot.save(tmp_path / "snapshot")
        assert not (tmp_path / "snapshot").exists()
        machine.clock.advance(20_000_000)
        machine.restore(snapshot)
        machine.clock.advance(20_000_000)
        assert done in ([1], [1, 1])


def test_who_watches_is_not_told(tmp_path: Path) -> None:
    """A tracer stands before what is put off, and goes with its own file."""
    with machine_for("cmdq_wrap") as machine:
        machine.smmu.delays = Delays(acknowledge=700, commands=2500)
        with Tracer(machine, lambda event: None), Provenance(machine, {}):
            until(machine, lambda: pending(machine), 37)
            machine.snapshot().save(tmp_path / "snapshot")
        result = machine.run(LIMIT)
        end = everything(machine)
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert pending(machine)
        assert machine.run(LIMIT) == result
        assert everything(machine) == end


def test_machine_of_other_make_needs_a_machine_like_it(tmp_path: Path) -> None:
    from smmu_emu.board.virt import VirtBoard

    def make() -> Machine:
        return Machine(partial(_board, VirtBoard))

    with make() as machine:
        machine.load(IMAGES / "hello.elf")
        machine.run(300)
        machine.snapshot().save(tmp_path / "snapshot")
        whole = machine.run(LIMIT)
    with pytest.raises(ConfigurationError, match=r"that Machine\.virt did not make"):
        Machine.load_snapshot(tmp_path / "snapshot")
    with make() as machine:
        machine.restore(Snapshot.load(tmp_path / "snapshot"))
        assert machine.run(LIMIT) == whole


def _board(kind: Any, clock: Any, reporter: Any, output: Any) -> Any:
    return kind(clock=clock, reporter=reporter, console=output)


def test_identification_of_the_smmu_goes_with_it(tmp_path: Path) -> None:
    ids = replace(PRESETS["full"], iidr=0x123)
    with Machine.virt(smmu_ids=ids) as machine:
        machine.load(IMAGES / "hello.elf")
        machine.snapshot().save(tmp_path / "snapshot")
    with Machine.load_snapshot(tmp_path / "snapshot") as machine:
        assert machine.smmu.ids == ids
        assert machine.run(LIMIT).status == 0


def test_what_the_documentation_shows_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = IMAGES.parents[1]
    text = (root / "docs" / "snapshots.md").read_text()
    first, second = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(root)
    names: dict[str, Any] = {"Snapshot": Snapshot}
    exec(first, names)
    assert capsys.readouterr().out == "the guest exited\n" * 3
    with Machine.virt() as machine:
        machine.load(IMAGES / "hello.elf")
        machine.run(300)
        monkeypatch.chdir(tmp_path)
        exec(second, names | {"booted": machine.snapshot(), "Machine": Machine})
    assert (tmp_path / "booted.snap").exists()
