# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware under policies: correct drivers come to the same, mistakes show.

The images that test caching itself, or look at something before they may, are not drivers and are
named here with the policies under which they differ. ``ats`` and ``mmio_odd`` would take too long.

``SMMU_POLICIES_MORE`` asks for that many policies more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from smmu_emu.machine import Machine
from smmu_emu.policy import POLICIES, Choice
from smmu_emu.policy.outcome import Outcome, differences
from smmu_emu.policy.sweep import Sweep, choices

FIRMWARE = Path(__file__).parents[1] / "firmware"
sys.path.append(str(FIRMWARE))

import qemu_virt  # noqa: E402
import setups  # noqa: E402

_CACHING = {"forget", "evict"}
NO_DRIVERS = {
    "cmdq_wrap": _CACHING,
    "el2_streams": _CACHING,
    "httu": {*_CACHING, "prefetch"},
    "its": {"late-commands"},
    "nested": _CACHING,
    "range_tlbi": _CACHING,
    "substreams": _CACHING,
    "unmap_tlbi": _CACHING,
    "bugs": {"late-commands"},
    "msi": {"late-commands"},
    "stall": {"late-commands", "late-dma"},
}
"""By image, policies whose freedom its checks do not allow for."""
# fmt: off
NAMES = (
    "bugs", "cmdq_wrap", "core", "core_stream", "crash", "dma_blob", "dma_code", "dma_nowhere",
    "dma_pages", "el2_streams", "evtq_overflow", "faults", "hello", "hitless", "httu", "irq_faults",
    "its", "msi", "nested", "queue_outside", "range_tlbi", "semihosting", "stall", "substreams",
    "timer", "two_level", "two_streams", "unmap_tlbi",
)
# fmt: on
MORE = int(os.environ.get("SMMU_POLICIES_MORE", "0"))
"""Choices of a sweep that each image runs under besides."""
TOGETHER = (
    "keep,prefetch,table-pointers,split,merge,bad-config,late-effects,late-acks,seed=2",
    "evict,prefetch,table-pointers,split,late-commands,late-effects,late-acks,late-dma,seed=3",
    "forget,merge,late-commands,late-effects,late-dma,seed=4",
)


def _machine(name: str, append: str = "") -> Machine:
    setup = setups.of(name)
    machine = setup.machine()
    machine.command_line = f"{name}.elf {append}".rstrip()
    machine.load(qemu_virt.IMAGES / f"{name}.elf", append=append)
    if name in qemu_virt.BESIDE:
        path, address = qemu_virt.BESIDE[name]
        machine.load_blob(address, path)
    return machine


def _allowed(name: str, texts: list[str]) -> list[Choice]:
    found = []
    for text in texts:
        choice = Choice.parse(text)
        kept = tuple(one for one in choice.names if one not in NO_DRIVERS.get(name, ()))
        if kept:
            found.append(Choice(kept, choice.seed))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_image_comes_to_the_same_under_every_policy(name: str) -> None:
    with _machine(name) as machine:
        sweep = Sweep(machine)
        more = [str(choice) for choice in choices(MORE)]
        for choice in _allowed(name, [*(f"{one},seed=1" for one in POLICIES), *TOGETHER, *more]):
            assert sweep.try_out(choice) is None, f"{name} under {choice}"


SHOWN = {
    "tlbi-dropped": "table-pointers",
    "tlbi-leaf-after-table": "table-pointers",
    "tlbi-wrong-vmid": "table-pointers",
    "asid-reused": "table-pointers",
    "sync-dropped": "late-effects",
    "sync-not-awaited": "late-commands",
    "cfgi-ste-early": "prefetch",
    "cfgi-no-sync": "prefetch,late-effects",
}
"""Mistakes that pass unnoticed without a policy, and a policy that shows them."""


@pytest.mark.parametrize("bug", list(SHOWN))
def test_mistake_that_passes_unnoticed_is_shown_by_a_policy(bug: str) -> None:
    with _machine("bugs", bug) as machine:
        sweep = Sweep(machine)
        assert sweep.usual.status == 0
        assert b"FAILED" not in sweep.usual.console
        names = tuple(SHOWN[bug].split(","))
        found = sweep.try_out(Choice(names, 1))
        assert found is not None
        assert found.least.names == names
        assert found.lines


def test_sweep_finds_the_policy_that_matters() -> None:
    with _machine("bugs", "tlbi-leaf-after-table") as machine:
        sweep = Sweep(machine)
        found = [sweep.try_out(choice) for choice in choices(2)]
        assert found[0] is not None
        assert found[0].least == Choice(("table-pointers",), 1)
        assert found[1] is None


def test_cfgi_cd_that_is_missing_is_shown() -> None:
    """The image happens to notice this one; the sweep tells where it begins to differ, too."""
    with _machine("bugs", "cfgi-cd-dropped") as machine:
        assert Sweep(machine).try_out(Choice(("forget",), 1)) is not None


def test_sweep_is_the_same_every_time() -> None:
    runs = []
    for _ in range(2):
        with _machine("unmap_tlbi") as machine:
            runs.append(Sweep(machine).try_out(Choice(("evict", "late-commands"), 6)))
    assert runs[0] == runs[1]
    assert runs[0] is not None
    assert runs[0].least.names == ("evict",)


def test_choices_of_a_sweep_are_legal_many_and_stay_the_same() -> None:
    found = choices(60)
    assert found == choices(80)[:60]
    assert len(set(found)) > 55
    assert {name for choice in found for name in choice.names} == set(POLICIES)
    assert all(Choice.parse(str(choice)) == choice for choice in found)


def _outcome(machine: Machine) -> Outcome:
    return Sweep(machine).usual


def test_differences_are_told_in_words() -> None:
    with _machine("unmap_tlbi") as machine:
        one = _outcome(machine)
    with _machine("dma_pages") as machine:
        other = _outcome(machine)
    assert differences(one, one) == []
    lines = differences(one, other)
    assert lines[0].startswith("console line 1: 'dma_pages: ")
    assert any(line.startswith("missing record, ") for line in lines)
    assert any(line.startswith("page 0x5000") for line in lines)


def test_snapshot_keeps_what_policies_have_under_way() -> None:
    """Chances, cached pointers, late commands: all go on from where they were."""
    with _machine("two_level") as machine:
        machine.use_policy(TOGETHER[1])
        machine.run(150_000)
        snapshot = machine.snapshot()
        ends = []
        for _ in range(2):
            result = machine.run()
            ends.append((result, bytes(machine.output), machine.smmu.stages.walks))
            machine.restore(snapshot)
        assert ends[0] == ends[1]
        assert ends[0][0].status == 0
