# SPDX-License-Identifier: GPL-2.0-or-later
"""Every declared field of every register, structure, command and record, against literal masks.

Spec: IHI 0070 4, 5.1 to 5.4, 6.2, 6.3, 7.3; the masks are in `literals`.
"""

from __future__ import annotations

import inspect

import pytest

from smmu_emu.bits import Address, Word
from smmu_emu.smmuv3.spec import cd, command, event, page_request, registers, ste
from tests.unit.smmuv3.spec import literals

STRUCTURES: dict[type[Word], literals.Masks] = {
    ste.L1STD: literals.L1STD,
    ste.STE: literals.STE,
    cd.L1CD: literals.L1CD,
    cd.CD: literals.CD,
    command.Prefetch: literals.PREFETCH,
    command.ConfigInvalidate: literals.CFGI,
    command.ConfigInvalidateRange: literals.CFGI_RANGE,
    command.TlbInvalidate: literals.TLBI,
    command.Sync: literals.SYNC,
    event.EventRecord: literals.EVENT,
    event.IpaEventRecord: literals.EVENT,
    event.BadRequestRecord: literals.BAD_REQUEST,
    page_request.PageRequestRecord: literals.PAGE_REQUEST,
}
for _name, _masks in (
    ("AtcInvalidate", literals.ATC_INV),
    ("PriResponse", literals.PRI_RESP),
    ("Resume", literals.RESUME),
    ("StallTerminate", literals.STALL_TERM),
):
    if (_command := getattr(command, _name, None)) is not None:
        STRUCTURES[_command] = _masks

SIZES = {
    "L1STD": 8,
    "STE": 64,
    "L1CD": 8,
    "CD": 64,
    "EventRecord": 32,
    "IpaEventRecord": 32,
    "BadRequestRecord": 32,
}
COMMAND_BYTES = 16


def _words_of(*modules: object) -> list[type[Word]]:
    return [
        member
        for module in modules
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Word) and member is not Word
    ]


STRUCTURE_FIELDS = [
    pytest.param(word, name, id=f"{word.__name__}.{name}")
    for word in _words_of(ste, cd, command, event, page_request)
    for name in word.FIELDS
]
REGISTER_FIELDS = [
    pytest.param(word, name, id=f"{word.__name__}.{name}")
    for word in _words_of(registers)
    for name in word.FIELDS
]


def _all_ones(word: type[Word], name: str, mask: int) -> int:
    """The largest number that a field takes: an address is given as a whole."""
    field = word.FIELDS[name]
    if isinstance(field, Address):
        return mask
    return mask >> (mask & -mask).bit_length() - 1


@pytest.mark.parametrize(("word", "name"), STRUCTURE_FIELDS)
def test_field_of_structure_lies_where_the_text_says(word: type[Word], name: str) -> None:
    doubleword, mask = STRUCTURES[word][name]
    number = _all_ones(word, name, mask)
    expected = bytearray(word.BITS // 8)
    expected[8 * doubleword : 8 * doubleword + 8] = mask.to_bytes(8, "little")

    assert word.make(**{name: number}).to_bytes() == bytes(expected)
    assert getattr(word.from_bytes(bytes(expected)), name) == number


@pytest.mark.parametrize(("word", "name"), STRUCTURE_FIELDS)
def test_field_of_structure_sees_no_other_bit(word: type[Word], name: str) -> None:
    doubleword, mask = STRUCTURES[word][name]
    others = ((1 << word.BITS) - 1) & ~(mask << 64 * doubleword)

    assert getattr(word(others), name) == 0


@pytest.mark.parametrize(("word", "name"), REGISTER_FIELDS)
def test_field_of_register_lies_where_the_text_says(word: type[Word], name: str) -> None:
    mask = literals.REGISTER_FIELDS[word.__name__][name]
    number = _all_ones(word, name, mask)

    assert word.make(**{name: number}).value == mask
    assert getattr(word(mask), name) == number
    assert getattr(word(((1 << word.BITS) - 1) & ~mask), name) == 0


@pytest.mark.parametrize(
    "word", _words_of(ste, cd, command, event, page_request), ids=lambda w: w.__name__
)
def test_structure_has_the_size_that_the_text_gives(word: type[Word]) -> None:
    assert 8 * SIZES.get(word.__name__, COMMAND_BYTES) == word.BITS


def test_sizes_of_structures_in_memory() -> None:
    assert (ste.L1STD_SIZE, ste.STE_SIZE, cd.CD_SIZE) == (8, 64, 64)
    assert (command.COMMAND_SIZE, event.EVENT_SIZE) == (16, 32)


@pytest.mark.parametrize("name", list(registers.REGISTERS))
def test_register_lies_at_the_offset_of_the_map(name: str) -> None:
    register = registers.REGISTERS[name]

    assert (register.name, register.offset, register.size) == (name, *literals.REGISTERS[name])


def test_map_holds_every_register_of_the_interface_that_drivers_use() -> None:
    optional = {"GATOS_CTRL", "GATOS_SID", "GATOS_ADDR", "GATOS_PAR"}
    assert set(literals.REGISTERS) - optional <= set(registers.REGISTERS)


def test_pages_are_64_kib_each() -> None:
    assert registers.WINDOW_SIZE == 0x20000


@pytest.mark.parametrize("opcode", list(command.Opcode), ids=lambda o: o.name)
def test_opcode_has_the_number_of_the_table(opcode: command.Opcode) -> None:
    assert literals.OPCODES[opcode.name] == opcode


@pytest.mark.parametrize("code", list(event.EventCode), ids=lambda c: c.name)
def test_event_has_the_number_of_its_section(code: event.EventCode) -> None:
    assert literals.EVENTS[code.name] == code


def test_codes_of_fields_with_named_values() -> None:
    assert [int(c) for c in command.CommandError] == [0, 1, 2, 3]  # 7.1
    assert {c.name: int(c) for c in event.FetchClass} == {"CD": 0, "TT": 1, "IN": 2}  # 7.3
    assert (*(0b100, 0b101, 0b110, 0b111),) == (
        ste.Config.BYPASS,
        ste.Config.STAGE1,
        ste.Config.STAGE2,
        ste.Config.NESTED,
    )
    assert (command.SyncSignal.NONE, command.SyncSignal.IRQ, command.SyncSignal.SEV) == (0, 1, 2)


def test_ste_as_a_driver_writes_it_for_both_stages() -> None:
    word = ste.STE.make(
        V=1,
        Config=0b111,
        S1ContextPtr=0x4_8000_1000,
        S1CIR=1,
        S1COR=1,
        S1CSH=3,
        EATS=1,
        S1STALLD=1,
        S2VMID=0x1234,
        S2T0SZ=24,
        S2SL0=1,
        S2IR0=1,
        S2OR0=1,
        S2SH0=3,
        S2PS=5,
        S2AA64=1,
        S2PTW=1,
        S2R=1,
        S2TTB=0x4_9000_0000,
    )
    assert word.to_bytes() == b"".join(
        doubleword.to_bytes(8, "little")
        for doubleword in (
            *(0x0000_0004_8000_100F, 0x0000_0000_1800_00D4),
            *(0x044D_3558_0000_1234, 0x0000_0004_9000_0000),
            *(0, 0, 0, 0),
        )
    )


def test_cd_as_a_driver_writes_it() -> None:
    word = cd.CD.make(
        T0SZ=16,
        IR0=1,
        OR0=1,
        SH0=3,
        EPD1=1,
        V=1,
        IPS=5,
        AA64=1,
        R=1,
        A=1,
        ASET=1,
        ASID=0xBEEF,
        TTB0=0x8_1234_5000,
        MAIR0=0x0C04_FF44,
        MAIR1=0x0000_F404,
    )
    assert word.to_bytes() == b"".join(
        doubleword.to_bytes(8, "little")
        for doubleword in (
            *(0xBEEF_E205_C000_3510, 0x0000_0008_1234_5000, 0, 0x0000_F404_0C04_FF44),
            *(0, 0, 0, 0),
        )
    )
