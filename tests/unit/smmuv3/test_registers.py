# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers: what a read sees, what a write changes, and when.

Spec: IHI 0070 6.2 (maps, sizes, guards), 6.3 (each register), 3.11 (reset).
"""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3 import Delays
from tests.unit.smmuv3.rig import COMMAND_QUEUE, EVENT_QUEUE, STREAM_TABLE, Bench, make_ids
from tests.unit.smmuv3.spec.literals import REGISTERS

ONES32, ONES64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
READ_ONLY = (
    *("IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR"),
    *("CR0ACK", "STATUSR", "IRQ_CTRLACK", "GERROR"),
)
KNOWN_OFFSETS = {offset + part for offset, size in REGISTERS.values() for part in range(0, size, 4)}


@pytest.fixture
def cold() -> Bench:
    """After reset, nothing programmed."""
    return Bench(setup=False)


def _snapshot(bench: Bench) -> dict[str, int]:
    return {name: bench.r(name) for name in REGISTERS}


# -- identification and reset


@pytest.mark.parametrize(
    ("preset", "idr0", "idr3"),
    [("qemu", 0x0D44_101B, 0x1414), ("qemu-stage1", 0x0D44_101A, 0x1404)],
)
def test_identification_registers_read_as_the_preset_says(
    preset: str, idr0: int, idr3: int
) -> None:
    bench = Bench(make_ids(preset), setup=False)

    assert [bench.r(f"IDR{n}") for n in range(6)] == [idr0, 0x0273_0010, 0, idr3, 0, 0x74]
    assert (bench.r("IIDR"), bench.r("AIDR")) == (0, 1)


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only_register_ignores_writes(cold: Bench, name: str) -> None:
    before = cold.r(name)
    cold.w(name, before ^ ONES32)

    assert cold.r(name) == before


@pytest.mark.parametrize("name", ["CR0", "CR0ACK", "IRQ_CTRL", "IRQ_CTRLACK", "GERROR", "GERRORN"])
def test_enables_and_errors_reset_to_zero(cold: Bench, name: str) -> None:
    """6.3.9, 6.3.10, 6.3.16 to 6.3.20."""
    assert cold.r(name) == 0


def test_gbpa_resets_with_update_clear(cold: Bench) -> None:
    """6.3.14: Update resets to 0, the rest is a choice of the implementation."""
    assert cold.r("GBPA") >> 31 == 0


def test_reset_undoes_everything() -> None:
    bench = Bench(setup=False)
    fresh = _snapshot(bench)
    bench.set_up()
    bench.w("GBPA", 0x8010_0000)
    bench.push(0)
    assert bench.command_error == 1
    bench.smmu.reset()

    assert _snapshot(bench) == fresh


# -- which bits exist


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("CR0", 0x0000_000D),
        ("CR1", 0x0000_0FFF),
        ("CR2", 0x0000_0002),
        ("IRQ_CTRL", 0x0000_0005),
        ("STRTAB_BASE", 0x4000_0FFF_FFFF_FFC0),
        ("STRTAB_BASE_CFG", 0x0003_07FF),
        ("CMDQ_BASE", 0x4000_0FFF_FFFF_FFFF),
        ("EVENTQ_BASE", 0x4000_0FFF_FFFF_FFFF),
        ("CMDQ_PROD", 0x000F_FFFF),
        ("EVENTQ_CONS", 0x800F_FFFF),
        ("GERROR_IRQ_CFG0", 0),
        ("GERROR_IRQ_CFG1", 0),
        ("GERROR_IRQ_CFG2", 0),
        ("EVENTQ_IRQ_CFG0", 0),
        ("EVENTQ_IRQ_CFG1", 0),
        ("EVENTQ_IRQ_CFG2", 0),
        ("PRIQ_BASE", 0),
        ("PRIQ_PROD", 0),
        ("PRIQ_CONS", 0),
        ("PRIQ_IRQ_CFG0", 0),
        ("PRIQ_IRQ_CFG1", 0),
        ("PRIQ_IRQ_CFG2", 0),
        ("GATOS_CTRL", 0),
        ("GATOS_SID", 0),
    ],
)
def test_ones_written_read_back_only_where_bits_exist(cold: Bench, name: str, mask: int) -> None:
    """6.2: reserved bits read as zero. No MSI, PRI, ATS, ATOS, Hyp, VMW; OAS is 44."""
    cold.w(name, ONES64 if REGISTERS[name][1] == 8 else ONES32)

    assert cold.r(name) == mask


def test_acknowledges_show_implemented_fields_only(cold: Bench) -> None:
    """6.3.9: reserved fields of CR0 are not reflected in CR0ACK; 6.3.16 likewise."""
    cold.w("CR0", ONES32)
    cold.w("IRQ_CTRL", ONES32)

    assert (cold.r("CR0ACK"), cold.r("IRQ_CTRLACK")) == (0xD, 0x5)


def test_gbpa_reserved_bits_read_zero(cold: Bench) -> None:
    """6.3.14: MemAttr, MTCFG, ALLOCCFG, SHCFG, PRIVCFG, INSTCFG, ABORT and Update exist."""
    cold.w("GBPA", ONES32)

    assert cold.r("GBPA") & ~0x001F_3F1F == 0
    assert cold.r("GBPA") & 0x0010_0000


def test_e2h_exists_with_hyp_only() -> None:
    """6.3.12."""
    bench = Bench(make_ids(Hyp=1), setup=False)
    bench.w("CR2", ONES32)

    assert bench.r("CR2") == 0x3


def test_two_level_fields_exist_with_st_level_only() -> None:
    """6.3.25: FMT and SPLIT are RES0 when IDR0.ST_LEVEL is 0."""
    bench = Bench(make_ids(ST_LEVEL=0, SIDSIZE=6), setup=False)
    bench.w("STRTAB_BASE_CFG", ONES32)

    assert bench.r("STRTAB_BASE_CFG") == 0x3F


@pytest.mark.parametrize(
    ("oas", "top"),
    [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 48), (6, 52)],
)
def test_address_bits_above_oas_read_zero(oas: int, top: int) -> None:
    """6.3.24, 6.3.26, 6.3.29."""
    bench = Bench(make_ids(OAS=oas), setup=False)
    for name, low in (("STRTAB_BASE", 6), ("CMDQ_BASE", 5), ("EVENTQ_BASE", 5)):
        bench.w(name, 0x00FF_FFFF_FFFF_FFE0)
        assert bench.r(name) == (1 << top) - (1 << low)


@pytest.mark.parametrize("name", ["CMDQ_CONS", "EVENTQ_PROD"])
@pytest.mark.parametrize("size_lg2", [0, 3, 8, 18])
def test_index_that_the_smmu_owns_reads_zero_above_its_wrap_bit(
    cold: Bench, name: str, size_lg2: int
) -> None:
    """6.3.28, 6.3.95: bits [19:QS+1] are RAZ."""
    cold.w("CMDQ_BASE", COMMAND_QUEUE | size_lg2)
    cold.w("EVENTQ_BASE", EVENT_QUEUE | size_lg2)
    cold.w(name, 0x000F_FFFF)

    assert cold.r(name) & 0x000F_FFFF == (2 << size_lg2) - 1


# -- sizes, halves, alignment, holes


@pytest.mark.parametrize("name", [n for n, (_, size) in REGISTERS.items() if size == 8])
def test_halves_of_a_64_bit_register_are_separate(cold: Bench, name: str) -> None:
    """6.2: two separately writable halves, [63:32] at offset 4."""
    offset, _ = REGISTERS[name]
    cold.smmu.write(offset, 8, ONES64)
    whole = cold.smmu.read(offset, 8)
    cold.smmu.write(offset, 4, 0)
    assert cold.smmu.read(offset, 8) == whole & ~ONES32
    assert cold.smmu.read(offset, 4) == 0
    assert cold.smmu.read(offset + 4, 4) == whole >> 32
    cold.smmu.write(offset + 4, 4, 0)
    cold.smmu.write(offset, 4, ONES32)

    assert cold.smmu.read(offset, 8) == whole & ONES32


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
def test_unsupported_size_reads_zero_and_writes_nothing(size: int) -> None:
    """6.2: an illegal access may be RAZ/WI; that is this model's choice."""
    bench = Bench()
    before = _snapshot(bench)
    for name, (offset, _) in REGISTERS.items():
        assert bench.smmu.read(offset, size) == 0, name
        bench.smmu.write(offset, size, (1 << 8 * size) - 1)

    assert _snapshot(bench) == before


@pytest.mark.parametrize("size", [4, 8])
def test_misaligned_access_reads_zero_and_writes_nothing(size: int) -> None:
    """6.2: unaligned accesses are illegal; RAZ/WI is this model's choice."""
    bench = Bench()
    before = _snapshot(bench)
    for offset in range(0x100):
        if offset % size:
            assert bench.smmu.read(offset, size) == 0, hex(offset)
            bench.smmu.write(offset, size, (1 << 8 * size) - 1)

    assert _snapshot(bench) == before


@pytest.mark.parametrize(
    "pair", ["CR0", "IRQ_CTRL", "GERROR", "CMDQ_PROD", "EVENTQ_PROD", "GERROR_IRQ_CFG1"]
)
def test_64_bit_access_over_two_registers_is_razwi(pair: str) -> None:
    """6.2: RAZ/WI is one of the permitted behaviours, and this model's choice."""
    bench = Bench()
    before = _snapshot(bench)
    offset, _ = REGISTERS[pair]
    assert bench.smmu.read(offset, 8) == 0
    bench.smmu.write(offset, 8, ONES64)

    assert _snapshot(bench) == before


def test_everything_else_in_both_pages_is_a_hole() -> None:
    """6.2: undefined locations of page 0 are RES0; those of page 1 may be, and are, too."""
    bench = Bench()
    before = _snapshot(bench)
    read = []
    for offset in range(0, 0x20000, 4):
        if offset not in KNOWN_OFFSETS:
            bench.smmu.write(offset, 4, ONES32)
            read.append(bench.smmu.read(offset, 4))

    assert not any(read)
    assert _snapshot(bench) == before


@pytest.mark.parametrize("offset", [0xA8, 0xAC, 0xC8, 0xCC])
def test_page_0_twins_of_page_1_indexes_are_razwi(offset: int) -> None:
    """6.2: an alias or RAZ/WI; this model has no aliases."""
    bench = Bench()
    bench.smmu.write(offset, 4, 0x55)
    assert bench.smmu.read(offset, 4) == 0

    assert bench.smmu.read(0x10000 + offset, 4) == 0


@pytest.mark.parametrize("offset", [0x20000, 0x100_0000, -4, -8])
def test_access_outside_the_window_is_razwi(cold: Bench, offset: int) -> None:
    assert cold.smmu.read(offset, 4) == 0
    cold.smmu.write(offset, 4, ONES32)


def test_value_wider_than_the_access_is_cut(cold: Bench) -> None:
    cold.smmu.write(REGISTERS["STRTAB_BASE"][0], 4, STREAM_TABLE | 0xFFFF << 32)

    assert cold.r("STRTAB_BASE") == STREAM_TABLE


# -- guards

GUARDED = [
    ("STRTAB_BASE", 0x1, 0x4000_0000_1234_5640),
    ("STRTAB_BASE_CFG", 0x1, 0x0001_0209),
    ("CR2", 0x1, 0x2),
    ("CR1", 0x1, 0x0000_0D40),
    ("CR1", 0x4, 0x0000_0035),
    ("CR1", 0x8, 0x0000_0035),
    ("CMDQ_BASE", 0x8, 0x4000_0000_1234_5005),
    ("CMDQ_CONS", 0x8, 0x0000_0011),
    ("EVENTQ_BASE", 0x4, 0x4000_0000_1234_5005),
    ("EVENTQ_PROD", 0x4, 0x8000_0011),
]


@pytest.mark.parametrize(("name", "enable", "value"), GUARDED)
def test_guarded_register_keeps_its_value_while_enabled(
    cold: Bench, name: str, enable: int, value: int
) -> None:
    """6.2 and 6.3.11 to 6.3.29: ignored from v3.2, may be ignored before."""
    cold.w("CMDQ_BASE", COMMAND_QUEUE | 8)
    cold.w("EVENTQ_BASE", EVENT_QUEUE | 8)
    before = cold.r(name)
    cold.w("CR0", enable)
    cold.w(name, value)
    assert cold.r(name) == before
    cold.w("CR0", 0)
    cold.w(name, value)

    assert cold.r(name) == value


@pytest.mark.parametrize(("name", "enable", "value"), GUARDED)
def test_other_enables_guard_nothing(cold: Bench, name: str, enable: int, value: int) -> None:
    cold.w("CMDQ_BASE", COMMAND_QUEUE | 8)
    cold.w("EVENTQ_BASE", EVENT_QUEUE | 8)
    others = 0xD & ~enable
    if name == "CR1" and enable & 0xC:
        others = 0x1
    cold.w("CR0", others)
    cold.w(name, value)

    assert cold.r(name) == value


@pytest.mark.parametrize("name", ["CMDQ_PROD", "EVENTQ_CONS", "IRQ_CTRL", "GERRORN"])
def test_registers_that_software_owns_are_never_guarded(name: str) -> None:
    bench = Bench()
    bench.w(name, 0x1)

    assert bench.r(name) == 0x1


@pytest.mark.parametrize(("name", "enable", "value"), GUARDED)
def test_guard_lasts_until_the_disable_is_acknowledged(name: str, enable: int, value: int) -> None:
    """6.3.9: a field in transition counts as having its old value."""
    bench = Bench(setup=False, delays=Delays(acknowledge=100))
    bench.w("CMDQ_BASE", COMMAND_QUEUE | 8)
    bench.w("EVENTQ_BASE", EVENT_QUEUE | 8)
    bench.w("CR0", enable)
    before = bench.r(name)
    bench.w(name, value)
    assert bench.r(name) == before, "an enable under way guards as well"
    bench.smmu.clock.advance(100)
    bench.w("CR0", 0)
    bench.w(name, value)
    assert bench.r(name) == before
    bench.smmu.clock.advance(200)
    bench.w(name, value)

    assert bench.r(name) == value


# -- updates


def test_cr0_reads_back_at_once_and_its_acknowledge_follows() -> None:
    """6.3.9, 6.3.10."""
    bench = Bench(setup=False, delays=Delays(acknowledge=10))
    bench.w("CR0", 0xD)
    assert (bench.r("CR0"), bench.r("CR0ACK")) == (0xD, 0)
    bench.smmu.clock.advance(9)
    assert bench.r("CR0ACK") == 0
    bench.smmu.clock.advance(10)

    assert bench.r("CR0ACK") == 0xD


def test_irq_ctrl_is_acknowledged_likewise() -> None:
    """6.3.16, 6.3.18."""
    bench = Bench(setup=False, delays=Delays(acknowledge=10))
    bench.w("IRQ_CTRL", 0x5)
    assert (bench.r("IRQ_CTRL"), bench.r("IRQ_CTRLACK")) == (0x5, 0)
    bench.smmu.clock.advance(10)

    assert bench.r("IRQ_CTRLACK") == 0x5


def test_fields_of_cr0_update_by_themselves() -> None:
    """6.3.9: each field is independent of updates of its neighbours."""
    bench = Bench(setup=False, delays=Delays(acknowledge=10))
    bench.w("CR0", 0x4)
    bench.smmu.clock.advance(5)
    bench.w("CR0", 0xC)
    bench.smmu.clock.advance(10)
    assert bench.r("CR0ACK") & 0x4
    bench.smmu.clock.advance(15)

    assert bench.r("CR0ACK") == 0xC


def test_gbpa_changes_by_a_write_with_update(cold: Bench) -> None:
    """6.3.14.1."""
    cold.w("GBPA", 0x8010_0000)

    assert cold.r("GBPA") & 0x8010_0000 == 0x0010_0000


def test_gbpa_write_without_update_is_ignored(cold: Bench) -> None:
    """6.3.14.1: the only permitted behaviour from v3.2, and this model's always."""
    before = cold.r("GBPA")
    cold.w("GBPA", 0x0010_0000)

    assert cold.r("GBPA") == before


def test_gbpa_shows_the_new_value_and_update_until_it_is_done() -> None:
    """6.3.14.1: the new value is observable even before the update has completed."""
    bench = Bench(setup=False, delays=Delays(acknowledge=10))
    bench.w("GBPA", 0x8010_1000)
    assert bench.r("GBPA") == 0x8010_1000
    bench.smmu.clock.advance(10)

    assert bench.r("GBPA") == 0x0010_1000


def test_gbpa_write_during_an_update_is_ignored() -> None:
    """6.3.14.1: the update completes using the initial value."""
    bench = Bench(setup=False, delays=Delays(acknowledge=10))
    bench.w("GBPA", 0x8010_1000)
    bench.smmu.clock.advance(5)
    bench.w("GBPA", 0x8000_1000)
    bench.smmu.clock.advance(50)

    assert bench.r("GBPA") == 0x0010_1000
