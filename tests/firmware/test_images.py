# SPDX-License-Identifier: GPL-2.0-or-later
"""Every image prints here what it printed on QEMU, and ends with the same status.

Images that want what QEMU lacks print what was recorded of them here; they judge themselves.
"""

from __future__ import annotations

import emulated
import pytest
import qemu_virt
import setups

from smmu_emu.cpu.exit import ExitKind

NAMES = sorted(image.stem for image in qemu_virt.IMAGES.glob("*.elf"))
ENDING = [name for name in NAMES if name not in qemu_virt.NEVER_END]

TOUCHES_NOTHING_UNKNOWN = {
    "ats",
    "crash",
    "dma_blob",
    "dma_code",
    "dma_pages",
    "edu_dma",
    "el2",
    "el2_streams",
    "evtq_overflow",
    "hello",
    "hitless",
    "httu",
    "irq_faults",
    "nested",
    "range_tlbi",
    "semihosting",
    "stall",
    "substreams",
    "timer",
    "unmap_tlbi",
    "vgic",
}
"""Images that behave: the others go where nothing is, on purpose."""


@pytest.mark.parametrize("name", ENDING)
def test_image_prints_the_text_of_qemu(name: str) -> None:
    machine, result = emulated.run(name)
    with machine:
        text = (qemu_virt.EXPECTED / f"{name}.txt").read_text()
        assert machine.output.decode() == emulated.expected_here(name, text)
        assert result.kind is ExitKind.EXIT
        assert result.status == qemu_virt.STATUS.get(name, 0)


@pytest.mark.parametrize("name", sorted(setups.SETUPS))
def test_image_that_wants_more_than_qemu_has_says_what_is_absent(name: str) -> None:
    machine, result = emulated.run(name, setup=setups.QEMUS)
    with machine:
        assert result.status == setups.ABSENT
        last = machine.output.decode().splitlines()[-1]
        assert last.startswith("ABSENT: this image needs ")


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        (name, ids)
        for name, setup in sorted((setups.SETUPS | setups.PORTABLE).items())
        for ids in setup.also
    ],
)
def test_image_passes_on_other_smmus(name: str, ids: str) -> None:
    machine, result = emulated.run(name, setup=setups.of(name)._replace(ids=ids))
    with machine:
        assert result.status == 0
        assert machine.output.decode().splitlines()[-1].startswith("PASS (")


@pytest.mark.parametrize("name", sorted(TOUCHES_NOTHING_UNKNOWN))
def test_well_behaved_image_touches_nothing_that_is_not_modelled(name: str) -> None:
    machine, _ = emulated.run(name)
    with machine:
        assert machine.unmodelled == []


def test_image_that_never_ends_is_stopped_by_the_limit() -> None:
    machine, result = emulated.run("spin", 1_000_000)
    with machine:
        assert (result.kind, result.status) == (ExitKind.MAX_INSTRUCTIONS, 124)
        assert result.instructions == 1_000_000


@pytest.mark.parametrize("name", ["bad_vectors", "jump_nowhere"])
def test_image_that_cannot_go_on_is_stopped_at_once(name: str) -> None:
    machine, result = emulated.run(name)
    with machine:
        assert (result.kind, result.status) == (ExitKind.LOCKUP, 126)
        assert result.instructions < 100


def test_jump_into_nothing_is_told_where_it_went() -> None:
    machine, _ = emulated.run("jump_nowhere")
    with machine:
        site = machine.unmodelled[0]
        assert (site.pa, site.kind, site.where) == (0x70_0000_0000, "fetch", "nothing")
