# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields, offsets, events of counter groups, against masks written by hand from IHI 0070 10."""

from __future__ import annotations

import inspect

import pytest

from smmu_emu.bits import Address, Word
from smmu_emu.smmuv3.spec import pmcg

FIELDS: dict[str, dict[str, int]] = {
    "EVTYPER": {  # 10.5.2.2
        "EVENT": 0x0000_FFFF,
        "FILTER_PARTID": 0x0001_0000,
        "FILTER_PMG": 0x0002_0000,
        "FILTER_MPAM_SP": 0x000C_0000,
        "FILTER_REALM_SID": 0x1000_0000,
        "FILTER_SID_SPAN": 0x2000_0000,
        "FILTER_SEC_SID": 0x4000_0000,
        "OVFCAP": 0x8000_0000,
    },
    "CAPR": {"CAPTURE": 0x0000_0001},  # 10.5.2.11
    "CFGR": {  # 10.5.2.13
        "NCTR": 0x0000_003F,
        "SIZE": 0x0000_3F00,
        "RELOC_CTRS": 0x0010_0000,
        "MSI": 0x0020_0000,
        "CAPTURE": 0x0040_0000,
        "SID_FILTER_TYPE": 0x0080_0000,
        "MPAM": 0x0100_0000,
        "FILTER_PARTID_PMG": 0x0200_0000,
    },
    "CR": {"E": 0x0000_0001},  # 10.5.2.14
    "IIDR": {  # 10.5.2.15
        "Implementer": 0x0000_0FFF,
        "Revision": 0x0000_F000,
        "Variant": 0x000F_0000,
        "ProductID": 0xFFF0_0000,
    },
    "IRQ_CTRL": {"IRQEN": 0x0000_0001},  # 10.5.2.19
    "IRQ_CFG0": {"ADDR": 0x00FF_FFFF_FFFF_FFFC},  # 10.5.2.21
    "IRQ_CFG2": {"MEMATTR": 0x0000_000F, "SH": 0x0000_0030},  # 10.5.2.23
    "IRQ_STATUS": {"IRQ_ABT": 0x0000_0001},  # 10.5.2.24
    "AIDR": {"ArchMinorRev": 0x0000_000F, "ArchMajorRev": 0x0000_00F0},  # 10.5.2.26
    "PIDR1": {"PART_1": 0x0000_000F, "DES_0": 0x0000_00F0},  # 10.5.2.29
    "PIDR2": {"DES_1": 0x0000_0007, "JEDEC": 0x0000_0008, "REVISION": 0x0000_00F0},
    "PIDR3": {"CMOD": 0x0000_000F, "REVAND": 0x0000_00F0},
    "PIDR4": {"DES_2": 0x0000_000F, "SIZE": 0x0000_00F0},
}

OFFSETS = {  # 10.5.1 and 10.5.2.29: offset, bytes
    "CNTENSET0": (0xC00, 8),
    "CNTENCLR0": (0xC20, 8),
    "INTENSET0": (0xC40, 8),
    "INTENCLR0": (0xC60, 8),
    "OVSCLR0": (0xC80, 8),
    "OVSSET0": (0xCC0, 8),
    "CAPR": (0xD88, 4),
    "SCR": (0xDF8, 4),
    "CFGR": (0xE00, 4),
    "CR": (0xE04, 4),
    "IIDR": (0xE08, 4),
    "CEID0": (0xE20, 8),
    "CEID1": (0xE28, 8),
    "SCR_ALIAS": (0xE40, 4),
    "ROOTCR": (0xE48, 4),
    "IRQ_CTRL": (0xE50, 4),
    "IRQ_CTRLACK": (0xE54, 4),
    "IRQ_CFG0": (0xE58, 8),
    "IRQ_CFG1": (0xE60, 4),
    "IRQ_CFG2": (0xE64, 4),
    "IRQ_STATUS": (0xE68, 4),
    "GMPAM": (0xE6C, 4),
    "AIDR": (0xE70, 4),
    "MPAMIDR": (0xE74, 4),
    "S_MPAMIDR": (0xE78, 4),
    "PMDEVARCH": (0xFBC, 4),
    "PMDEVTYPE": (0xFCC, 4),
    "PIDR0": (0xFE0, 4),
    "PIDR1": (0xFE4, 4),
    "PIDR2": (0xFE8, 4),
    "PIDR3": (0xFEC, 4),
    "PIDR4": (0xFD0, 4),
    "PIDR5": (0xFD4, 4),
    "PIDR6": (0xFD8, 4),
    "PIDR7": (0xFDC, 4),
    "CIDR0": (0xFF0, 4),
    "CIDR1": (0xFF4, 4),
    "CIDR2": (0xFF8, 4),
    "CIDR3": (0xFFC, 4),
}

EVENTS = {  # 10.3
    "CYCLE": 0,
    "TRANSACTION": 1,
    "TLB_MISS": 2,
    "CONFIG_MISS": 3,
    "WALK_ACCESS": 4,
    "CONFIG_ACCESS": 5,
    "ATS_REQUEST": 6,
    "ATS_TRANSLATED": 7,
}

WORDS = [
    member
    for member in vars(pmcg).values()
    if inspect.isclass(member) and issubclass(member, Word) and member is not Word
]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        pytest.param(word, name, id=f"{word.__name__}.{name}")
        for word in WORDS
        for name in word.FIELDS
    ],
)
def test_field_lies_where_the_text_says(word: type[Word], name: str) -> None:
    mask = FIELDS[word.__name__][name]
    is_address = isinstance(word.FIELDS[name], Address)
    number = mask if is_address else mask >> (mask & -mask).bit_length() - 1

    assert word.make(**{name: number}).value == mask
    assert getattr(word(mask), name) == number
    assert getattr(word(((1 << word.BITS) - 1) & ~mask), name) == 0


def test_every_field_of_the_text_is_declared() -> None:
    assert {word.__name__: set(word.FIELDS) for word in WORDS} == {
        name: set(fields) for name, fields in FIELDS.items()
    }


def test_registers_lie_where_the_text_says() -> None:
    assert {name: (offset, size) for name, offset, size in pmcg.REGISTERS} == OFFSETS


def test_arrays_lie_where_the_text_says() -> None:
    assert {(name, offset, size) for name, offset, size in pmcg.ARRAYS} == {
        ("EVCNTR", 0x000, None),
        ("EVTYPER", 0x400, 4),
        ("SVR", 0x600, None),
        ("SMR", 0xA00, 4),
    }
    assert set(pmcg.RELOCATED) == {"EVCNTR", "SVR", "OVSCLR0", "OVSSET0", "CAPR"}


def test_events_have_the_numbers_of_the_text() -> None:
    assert {event.name: event.value for event in pmcg.MonitorEvent} == EVENTS


def test_identification_block_is_the_texts() -> None:
    assert pmcg.PMDEVARCH_VALUE == 0x23B << 21 | 1 << 20 | 0x2A56
    assert pmcg.PMDEVTYPE_VALUE == 5 << 4 | 6
    assert pmcg.CIDR_VALUES == (0x0D, 0x90, 0x05, 0xB1)


def test_sizes_of_counters_are_the_texts() -> None:
    encodings = (0b011111, 0b100011, 0b100111, 0b101011, 0b101111, 0b111111)

    assert tuple(bits - 1 for bits in pmcg.COUNTER_BITS) == encodings
    assert (pmcg.MOST_COUNTERS, pmcg.PAGE_SIZE) == (64, 4096)
