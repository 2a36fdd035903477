# SPDX-License-Identifier: GPL-2.0-or-later
"""Presets are their originals less what is not modelled, and docs/id_presets.md says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import PRESETS, Smmuv3
from smmu_emu.smmuv3.presets import REAL, Change, missing, reduced

DOC = Path(__file__).resolve().parents[3] / "docs" / "id_presets.md"


def row(name: str) -> str:
    """What the document has to say of a preset."""
    ids = PRESETS[name]
    registers = " | ".join(f"{value:#010x}" for value in (ids.idr0, ids.idr1, ids.idr3, ids.idr5))
    changes = ", ".join(map(str, missing(name))) or "nothing"
    return f"| {name} | {registers} | {ids.aidr} | {changes} |"


def test_originals_are_what_was_read_out_or_published() -> None:
    def words(name: str) -> tuple[int, ...]:
        ids = REAL[name]
        return (ids.idr0, ids.idr1, ids.idr3, ids.idr5, ids.aidr)

    assert words("qemu") == (0x0D44_101B, 0x0273_0010, 0x1414, 0x74, 1)
    assert words("fvp") == (0x080F_E6BF, 0x0E73_9D10, 0x14, 0x1_005D, 1)
    assert words("fvp-ci") == (0x0046_123B, 0x0060_0002, 0x1714, 0xFFFF_0472, 2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_makes_a_device(name: str) -> None:
    smmu = Smmuv3(PhysicalMemory(), PRESETS[name])
    ids = PRESETS[name]
    assert [smmu.read(offset, 4) for offset in (0x00, 0x04, 0x0C, 0x14, 0x18, 0x1C)] == [
        *(ids.idr0, ids.idr1, ids.idr3, ids.idr5, ids.iidr, ids.aidr)
    ]


@pytest.mark.parametrize("name", ["qemu", "qemu-stage1", "full"])
def test_nothing_is_missing_where_all_is_modelled(name: str) -> None:
    assert missing(name) == []
    assert PRESETS[name] == REAL[name]


def test_full_has_what_firmware_needs() -> None:
    full = PRESETS["full"]
    assert (full.sizes.SSIDSIZE, full.features.CD2L) == (20, 1)
    assert (full.features.STALL_MODEL, full.features.TERM_MODEL) == (0, 0)
    assert full.features.HTTU == 2
    assert (full.features.ATS, full.features.PRI, full.features.MSI, full.features.SEV) == (1,) * 4
    assert full.minor == 2


def test_reduction_names_each_change() -> None:
    """BTM, ATOS, VMW; AArch32 tables and big-endian ones; a bit without a name."""
    ids, changes = reduced(REAL["fvp"])
    assert (ids.idr0, ids.idr1, ids.idr3, ids.idr5) == (0x084D_669B, 0x0E73_9D10, 0x14, 0x1_0055)
    assert changes[0] == Change("IDR0.TTF", 3, 2)
    assert [change.field for change in changes] == [
        *("IDR0.TTF", "IDR0.BTM", "IDR0.ATOS", "IDR0.VMW", "IDR0.TTENDIAN", "IDR5[3]")
    ]


def test_document_shows_every_preset_as_it_is() -> None:
    rows = [line for line in DOC.read_text().splitlines() if line.startswith("| ")]
    assert [line for line in rows if " 0x" in line] == [row(name) for name in PRESETS]
    described = {line.split(" | ")[0] for line in rows if " 0x" not in line}
    assert described == {"| preset", *(f"| {name}" for name in PRESETS)}
