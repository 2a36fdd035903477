# SPDX-License-Identifier: GPL-2.0-or-later
"""Every event record, byte for byte, for a concrete fault of its kind.

Records are given as four doublewords, written out from the layouts of IHI 0070 7.3. Word 0 has the
number [7:0], SSV [11], SubstreamID [31:12] and StreamID [63:32]; word 1 PnU [33], InD [34],
RnW [35], S2 [39], CLASS [41:40], TTRnW [44]; word 2 InputAddr; word 3 FetchAddr or IPA.
"""

from __future__ import annotations

import pytest

from smmu_emu.transaction import Fault
from tests.unit.smmuv3.rig import (
    AF,
    CD_AT,
    GUEST,
    NOWHERE,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_DEVICE,
    S2_READ,
    S2_RW,
    S2_WRITE,
    SID,
    STREAM_TABLE,
    TABLE,
    USER,
    Bench,
    Tree,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

READ, IN, TT, CD, S2 = 1 << 35, 2 << 40, 1 << 40, 0, 1 << 39
PRIVILEGED, INSTRUCTION, TT_READ = 1 << 33, 1 << 34, 1 << 44
IOVA = 0x4567_8123
PAGE_OF_IOVA = 0x4567_8000


def _record(bench: Bench) -> tuple[int, int, int, int]:
    """The only record, as doublewords; read from memory, not through a decoder."""
    [record] = bench.events()
    return tuple(record >> 64 * word & (1 << 64) - 1 for word in range(4))  # type: ignore[return-value]


def _head(number: int, sid: int = SID) -> int:
    return sid << 32 | number


# -- configuration errors


def test_c_bad_streamid() -> None:
    """7.3.3."""
    bench = Bench()
    bench.go(IOVA, True, sid=0x1234_5678)

    assert _record(bench) == (0x1234_5678_0000_0002, 0, 0, 0)


def test_c_bad_streamid_with_a_substream() -> None:
    bench = Bench()
    bench.go(IOVA, sid=0xFFFF_FFFF, ssid=0xABCDE)

    assert _record(bench) == (0xFFFF_FFFF_ABCD_E802, 0, 0, 0)


def test_f_ste_fetch() -> None:
    """7.3.4: FetchAddr [55:3] is the physical address of the STE."""
    bench = Bench()
    bench.smmu.ports["config"].read = lambda pa, size: None
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_0003, 0, 0, STREAM_TABLE + 0x200)


def test_c_bad_ste() -> None:
    """7.3.5."""
    bench = Bench()
    bench.go(IOVA, True, sid=0x77)

    assert _record(bench) == (0x0000_0077_0000_0004, 0, 0, 0)


def test_f_stream_disabled() -> None:
    """7.3.7: StreamID only."""
    bench, _ = stage1_bench(make_ids(SSIDSIZE=8))
    bench.ste(**{**S1_STE, "S1CDMax": 4, "S1DSS": 0})
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_0006, 0, 0, 0)


def test_f_stream_disabled_by_substream_0_has_no_substream() -> None:
    bench, _ = stage1_bench(make_ids(SSIDSIZE=8))
    bench.ste(**{**S1_STE, "S1CDMax": 4, "S1DSS": 2})
    bench.go(IOVA, ssid=0)

    assert _record(bench) == (0x0000_0008_0000_0006, 0, 0, 0)


def test_c_bad_substreamid() -> None:
    """7.3.9: SubstreamID is always valid, and there is no SSV."""
    bench, _ = stage1_bench()
    bench.go(IOVA, True, ssid=0x12345)

    assert _record(bench) == (0x0000_0008_1234_5008, 0, 0, 0)


def test_f_cd_fetch() -> None:
    """7.3.10."""
    bench, _ = stage1_bench()
    bench.ste(**{**S1_STE, "S1ContextPtr": NOWHERE + 0x40})
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_0009, 0, 0, NOWHERE + 0x40)


def test_f_cd_fetch_of_a_nested_stream_has_the_physical_address() -> None:
    """7.3.10: FetchAddr is the PA used for the fetch, after stage 2."""
    bench, _, second = nested_bench(ste={"S1ContextPtr": 0x5_0000_0040})
    second.page(0x5_0000_0000, NOWHERE, S2_RW)
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_0009, 0, 0, NOWHERE + 0x40)


def test_c_bad_cd() -> None:
    """7.3.11."""
    bench, _ = stage1_bench(V=0)
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_000A, 0, 0, 0)


# -- aborted walks


def test_f_walk_eabt_of_stage_1() -> None:
    """7.3.12: S2 0, CLASS TT, FetchAddr the descriptor's; RnW of the input transaction."""
    bench, tree = stage1_bench()
    where = tree.set(IOVA, 1, NOWHERE | TABLE)
    assert where
    bench.go(IOVA)

    # level 2 is indexed by bits [29:21] of the address: 0x2B
    assert _record(bench) == (
        *(0x0000_0008_0000_000B, READ | TT),
        *(IOVA, NOWHERE + 8 * 0x2B),
    )


def test_f_walk_eabt_of_stage_1_for_a_write() -> None:
    bench, tree = stage1_bench()
    tree.set(IOVA, 1, NOWHERE | TABLE)
    bench.go(IOVA, True, privileged=True, instruction=True)

    assert _record(bench) == (
        *(0x0000_0008_0000_000B, PRIVILEGED | TT),
        *(IOVA, NOWHERE + 8 * 0x2B),
    )


def test_f_walk_eabt_is_recorded_whatever_r_says() -> None:
    """5.5: only four faults can be silenced."""
    bench, tree = stage1_bench(R=0)
    tree.set(IOVA, 1, NOWHERE | TABLE)
    bench.go(IOVA)
    assert _record(bench)[0] == _head(0x0B)
    bench, tree = stage2_bench(S2R=0)
    tree.set(IOVA, 1, NOWHERE | TABLE)
    bench.go(IOVA)

    assert _record(bench)[0] == _head(0x0B)


def test_f_walk_eabt_of_stage_2_for_the_address_itself() -> None:
    """7.3.12: S2 1, CLASS IN, FetchAddr the stage-2 descriptor's."""
    bench, tree = stage2_bench()
    tree.set(IOVA, 1, NOWHERE | TABLE)
    bench.go(IOVA, instruction=True)

    assert _record(bench) == (
        *(0x0000_0008_0000_000B, READ | INSTRUCTION | S2 | IN),
        *(IOVA, NOWHERE + 8 * 0x2B),
    )


def test_f_walk_eabt_of_stage_2_under_a_cd_fetch() -> None:
    """7.3.12: CLASS CD."""
    bench, _, second = nested_bench(ste={"S1ContextPtr": 0x5_0000_0040})
    second.set(0x5_0000_0000, 1, NOWHERE | TABLE)
    bench.go(IOVA, True)

    assert _record(bench) == (0x0000_0008_0000_000B, S2 | CD, IOVA, NOWHERE)


def test_f_walk_eabt_of_stage_2_under_a_table_fetch() -> None:
    """7.3.12: CLASS TT; FetchAddr is the stage-2 descriptor's, not the stage-1 one's."""
    bench, first, second = nested_bench()
    first.set(IOVA, 1, 0x5_0000_0000 | TABLE)
    second.set(0x5_0000_0000, 1, NOWHERE | TABLE)
    bench.go(IOVA)

    assert _record(bench) == (0x0000_0008_0000_000B, READ | S2 | TT, IOVA, NOWHERE)


def test_f_walk_eabt_of_stage_1_in_a_nested_stream() -> None:
    """7.3.12: S2 0, CLASS TT and the physical address of the stage-1 descriptor."""
    bench, first, second = nested_bench()
    first.set(IOVA, 1, 0x5_0000_0000 | TABLE)
    second.page(0x5_0000_0000, NOWHERE, S2_RW)
    bench.go(IOVA)

    assert _record(bench) == (
        *(0x0000_0008_0000_000B, READ | TT),
        *(IOVA, NOWHERE + 8 * 0x2B),
    )


# -- the four faults of translation, stage 1

STAGE_1 = [
    pytest.param(0x10, 0, READ | IN, False, id="F_TRANSLATION-read"),
    pytest.param(0x10, 0, IN, True, id="F_TRANSLATION-write"),
    pytest.param(0x11, 1 << 46 | RW | 3, READ | IN, False, id="F_ADDR_SIZE-read"),
    pytest.param(0x11, 1 << 46 | RW | 3, IN, True, id="F_ADDR_SIZE-write"),
    pytest.param(0x12, RAM | USER | 3, READ | IN, False, id="F_ACCESS-read"),
    pytest.param(0x12, RAM | USER | 3, IN, True, id="F_ACCESS-write"),
    pytest.param(0x13, RAM | AF | 3, READ | IN, False, id="F_PERMISSION-read"),
    pytest.param(0x13, RAM | RW | READ_ONLY | 3, IN, True, id="F_PERMISSION-write"),
]


@pytest.mark.parametrize(("number", "descriptor", "attributes", "write"), STAGE_1)
def test_fault_of_stage_1(number: int, descriptor: int, attributes: int, write: bool) -> None:
    """7.3.13 to 7.3.16: S2 0, CLASS IN, no IPA."""
    bench, tree = stage1_bench()
    tree.set(IOVA, 3, descriptor)
    bench.go(IOVA, write)

    assert _record(bench) == (_head(number), attributes, IOVA, 0)


@pytest.mark.parametrize(("number", "descriptor", "attributes", "write"), STAGE_1)
def test_fault_of_stage_1_in_a_nested_stream(
    number: int, descriptor: int, attributes: int, write: bool
) -> None:
    bench, first, _ = nested_bench()
    first.set(IOVA, 3, descriptor)
    bench.go(IOVA, write)

    assert _record(bench) == (_head(number), attributes, IOVA, 0)


def test_fault_of_stage_1_with_a_substream() -> None:
    bench, tree = stage1_bench(make_ids(SSIDSIZE=8))
    table = bench.alloc(64 * 16)
    bench.cd(table + 64 * 5, **{**PLAIN_CD, "TTB0": tree.root})
    bench.ste(**{**S1_STE, "S1CDMax": 4, "S1ContextPtr": table})
    bench.go(IOVA, privileged=True, ssid=5)

    assert _record(bench) == (0x0000_0008_0000_5810, READ | PRIVILEGED | IN, IOVA, 0)


def test_range_fault_keeps_the_whole_address() -> None:
    """7.3: InputAddr is as supplied, tag and all; TBI does not affect it."""
    bench, _ = stage1_bench(TBI0=1)
    bench.go(0xA5_12_3456_7890_0FFF)

    assert _record(bench) == (_head(0x10), READ | IN, 0xA5_12_3456_7890_0FFF, 0)


def test_upper_half_without_tables_faults_in_translation() -> None:
    """7.3.13: within a disabled TTBx."""
    bench, _ = stage1_bench(EPD1=1)
    bench.go(0xFFFF_FFFF_FFFF_FFFF, True)

    assert _record(bench) == (_head(0x10), IN, 0xFFFF_FFFF_FFFF_FFFF, 0)


@pytest.mark.parametrize(
    ("privileged", "instruction", "write", "attributes"),
    [
        (False, False, False, READ),
        (True, False, False, READ | PRIVILEGED),
        (False, True, False, READ | INSTRUCTION),
        (True, True, False, READ | PRIVILEGED | INSTRUCTION),
        (False, False, True, 0),
        (True, False, True, PRIVILEGED),
        (False, True, True, 0),
        (True, True, True, PRIVILEGED),
    ],
)
def test_attributes_of_the_transaction_are_recorded(
    privileged: bool, instruction: bool, write: bool, attributes: int
) -> None:
    """7.3.13: InD is 0 when RnW is 0; writes are data whatever they claim (13.1.2)."""
    bench, _ = stage1_bench()
    bench.go(IOVA, write, privileged=privileged, instruction=instruction)

    assert _record(bench) == (_head(0x10), attributes | IN, IOVA, 0)


@pytest.mark.parametrize(
    ("privcfg", "instcfg", "attributes"),
    [(2, 2, 0), (3, 2, PRIVILEGED), (2, 3, INSTRUCTION), (3, 3, PRIVILEGED | INSTRUCTION)],
)
@pytest.mark.parametrize("incoming", [False, True])
def test_attributes_are_recorded_as_the_stream_overrides_them(
    privcfg: int, instcfg: int, attributes: int, incoming: bool
) -> None:
    """7.3: PnU and InD are the values after the overrides of the STE."""
    bench, _ = stage1_bench(make_ids(ATTR_PERMS_OVR=1))
    bench.ste(**{**S1_STE, "PRIVCFG": privcfg, "INSTCFG": instcfg})
    bench.go(IOVA, privileged=incoming, instruction=incoming)

    assert _record(bench) == (_head(0x10), READ | attributes | IN, IOVA, 0)


def test_overrides_do_not_exist_without_the_feature() -> None:
    """5.2 PRIVCFG, INSTCFG: RES0 when IDR1.ATTR_PERMS_OVR is 0."""
    bench, _ = stage1_bench()
    bench.ste(**{**S1_STE, "PRIVCFG": 3, "INSTCFG": 3})
    bench.go(IOVA)

    assert _record(bench)[1] == READ | IN


# -- the four faults of translation, stage 2

S2_LEVEL3 = [
    pytest.param(0x10, 0, id="F_TRANSLATION"),
    pytest.param(0x11, 1 << 46 | S2_RW | 3, id="F_ADDR_SIZE"),
    pytest.param(0x12, RAM | S2_RW & ~AF | 3, id="F_ACCESS"),
    pytest.param(0x13, RAM | S2_RW & ~(S2_READ | S2_WRITE) | 3, id="F_PERMISSION"),
]


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
@pytest.mark.parametrize("write", [False, True])
def test_fault_of_stage_2_alone(number: int, descriptor: int, write: bool) -> None:
    """7.3.13: S2 1, CLASS IN, and the IPA without its low 12 bits."""
    bench, tree = stage2_bench()
    tree.set(IOVA, 3, descriptor)
    bench.go(IOVA, write)
    rnw = 0 if write else READ

    assert _record(bench) == (_head(number), rnw | S2 | IN, IOVA, PAGE_OF_IOVA)


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
@pytest.mark.parametrize("write", [False, True])
def test_fault_of_stage_2_on_the_output_of_stage_1(
    number: int, descriptor: int, write: bool
) -> None:
    bench, first, second = nested_bench()
    ipa = 0x5_1234_5000
    first.page(IOVA, ipa)
    second.set(ipa, 3, descriptor)
    bench.go(IOVA, write, privileged=True)
    rnw = 0 if write else READ

    assert _record(bench) == (_head(number), rnw | PRIVILEGED | S2 | IN, IOVA, ipa)


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
@pytest.mark.parametrize("write", [False, True])
def test_fault_of_stage_2_on_a_cd(number: int, descriptor: int, write: bool) -> None:
    """7.3.13: CLASS CD, IPA the CD's; RnW is the input transaction's."""
    bench, _, second = nested_bench(ste={"S1ContextPtr": 0x5_1234_5FC0})
    second.set(0x5_1234_5000, 3, descriptor)
    bench.go(IOVA, write)
    rnw = 0 if write else READ

    assert _record(bench) == (_head(number), rnw | S2 | CD, IOVA, 0x5_1234_5000)


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
@pytest.mark.parametrize("write", [False, True])
def test_fault_of_stage_2_on_a_table(number: int, descriptor: int, write: bool) -> None:
    """7.3.13, 7.3.16: CLASS TT, IPA the descriptor's; TTRnW 1 where a read was refused."""
    bench, first, second = nested_bench()
    table = 0x5_1234_5000
    first.set(IOVA, 2, table | TABLE)
    second.set(table, 3, descriptor)
    bench.go(IOVA, write)
    rnw = 0 if write else READ
    tt_read = TT_READ if number == 0x13 else 0

    assert _record(bench) == (_head(number), rnw | S2 | TT | tt_read, IOVA, table)


def test_ipa_of_a_table_is_that_of_the_descriptor() -> None:
    """7.3.13: a 64 KiB table spans sixteen 4 KiB pages; the one of the descriptor is reported."""
    bench, _, second = nested_bench()
    first = Tree(bench, 16, 39, delta=-GUEST)
    table = 0x5_1234_0000
    bench.cd(**{**PLAIN_CD, "TTB0": first.root, "TG0": 1})
    first.set(0x1234_5678, 2, table | TABLE)
    for number in range(16):
        second.page(table + 0x1000 * number, RAM, S2_RW)
    # level 3 is indexed by bits [28:16]: 0x1234, at 0x91A0 in the table
    second.set(table + 0x9000, 3, 0)
    bench.go(0x1234_5678)

    assert _record(bench) == (_head(0x10), READ | S2 | TT, 0x1234_5678, table + 0x9000)


def test_fault_of_stage_2_by_range_on_each_kind_of_address() -> None:
    """7.3.13: outside S2T0SZ's range."""
    beyond = 1 << 40
    bench, _, _ = nested_bench(ste={"S1ContextPtr": beyond})
    bench.go(IOVA)
    assert _record(bench) == (_head(0x10), READ | S2 | CD, IOVA, beyond)
    bench, first, _ = nested_bench()
    first.set(IOVA, 2, beyond | TABLE)
    bench.go(IOVA)
    table = beyond + 8 * (IOVA >> 12 & 0x1FF) & ~0xFFF
    assert _record(bench) == (_head(0x10), READ | S2 | TT, IOVA, table)
    bench, first, _ = nested_bench()
    first.page(IOVA, beyond)
    bench.go(IOVA)
    assert _record(bench) == (_head(0x10), READ | S2 | IN, IOVA, beyond)
    bench, _ = stage2_bench()
    bench.go(beyond + IOVA)

    assert _record(bench) == (_head(0x10), READ | S2 | IN, beyond + IOVA, beyond + PAGE_OF_IOVA)


@pytest.mark.parametrize("write", [False, True])
def test_protected_table_walk_refuses_device_memory(write: bool) -> None:
    """5.2 S2PTW: a stage-2 F_PERMISSION, CLASS TT for tables and CD for context descriptors."""
    rnw = 0 if write else READ
    bench, first, second = nested_bench(ste={"S2PTW": 1})
    table = 0x5_1234_5000
    first.set(IOVA, 2, table | TABLE)
    second.page(table, RAM, S2_READ | S2_WRITE | S2_DEVICE | AF)
    bench.go(IOVA, write)
    assert _record(bench) == (_head(0x13), rnw | S2 | TT | TT_READ, IOVA, table)
    bench, _, second = nested_bench(ste={"S2PTW": 1, "S1ContextPtr": 0x5_1234_5040})
    second.page(0x5_1234_5000, CD_AT & ~0xFFF, S2_READ | S2_WRITE | S2_DEVICE | AF)
    bench.go(IOVA, write)

    assert _record(bench) == (_head(0x13), rnw | S2 | CD, IOVA, 0x5_1234_5000)


# -- bypass


def test_bypassing_stream_beyond_oas_is_f_addr_size_of_stage_1() -> None:
    """3.4, 7.3.14: S2 0, CLASS IN."""
    bench = Bench()
    bench.ste(V=1, Config=0b100, SHCFG=1)
    bench.go(1 << 44 | 0x123, True, privileged=True)

    assert _record(bench) == (_head(0x11), PRIVILEGED | IN, 1 << 44 | 0x123, 0)


def test_stage_2_stream_beyond_ias_is_f_addr_size_of_stage_1() -> None:
    """3.4: recorded whatever S2R says, as no stage 2 was involved."""
    bench, _ = stage2_bench(S2R=0)
    bench.go(1 << 44)

    assert _record(bench) == (_head(0x11), READ | IN, 1 << 44, 0)


@pytest.mark.parametrize(("privcfg", "attributes"), [(2, 0), (3, PRIVILEGED)])
@pytest.mark.parametrize("config", [0b100, 0b110])
def test_overrides_show_in_the_fault_of_a_bypassed_stage_1(
    config: int, privcfg: int, attributes: int
) -> None:
    """7.3.14: PnU and InD are the values after the overrides of the STE."""
    bench, _ = stage2_bench(make_ids(ATTR_PERMS_OVR=1), Config=config, PRIVCFG=privcfg, INSTCFG=3)
    bench.go(1 << 44, privileged=privcfg == 2)

    assert _record(bench) == (_head(0x11), READ | INSTRUCTION | attributes | IN, 1 << 44, 0)


# -- what makes no record


def test_disabled_stream_aborts_silently() -> None:
    """5.2 Config 0xx."""
    for config in (0b000, 0b001, 0b010, 0b011):
        bench = Bench()
        bench.ste(V=1, Config=config)
        assert isinstance(bench.go(IOVA), Fault)
        assert not bench.events()


def test_global_abort_is_silent() -> None:
    """6.3.14, 3.11."""
    bench = Bench()
    bench.w("CR0", 0xC)
    bench.w("GBPA", 0x8010_0000)
    assert isinstance(bench.go(IOVA), Fault)

    assert not bench.events()


def test_global_bypass_beyond_oas_is_silent() -> None:
    """3.4: the transaction is terminated and no event is recorded."""
    bench = Bench()
    bench.w("CR0", 0xC)
    assert bench.pa((1 << 44) - 1) == (1 << 44) - 1
    assert isinstance(bench.go(1 << 44), Fault)

    assert not bench.events()


@pytest.mark.parametrize(("number", "descriptor", "attributes", "write"), STAGE_1)
def test_r_silences_the_four_faults_of_stage_1(
    number: int, descriptor: int, attributes: int, write: bool
) -> None:
    """5.5: ARS 0b100 aborts silently."""
    bench, tree = stage1_bench(R=0)
    tree.set(IOVA, 3, descriptor)
    result = bench.go(IOVA, write)

    assert isinstance(result, Fault)
    assert (result.code, bench.events()) == (number, [])


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
@pytest.mark.parametrize("what", ["cd", "table", "output"])
def test_s2r_silences_the_four_faults_of_stage_2(number: int, descriptor: int, what: str) -> None:
    """5.5, 3.12: whatever was being translated, and whatever CD.R says."""
    ipa = 0x5_1234_5000
    ste = {"S2R": 0, **({"S1ContextPtr": ipa} if what == "cd" else {})}
    bench, first, second = nested_bench(ste=ste)
    if what == "table":
        first.set(IOVA, 2, ipa | TABLE)
    elif what == "output":
        first.page(IOVA, ipa)
    second.set(ipa, 3, descriptor)
    result = bench.go(IOVA)

    assert isinstance(result, Fault)
    assert (result.code, bench.events()) == (number, [])


@pytest.mark.parametrize(("number", "descriptor"), S2_LEVEL3)
def test_r_of_the_cd_does_not_silence_stage_2(number: int, descriptor: int) -> None:
    bench, first, second = nested_bench(cd={"R": 0})
    ipa = 0x5_1234_5000
    first.set(IOVA, 2, ipa | TABLE)
    second.set(ipa, 3, descriptor)
    bench.go(IOVA)

    assert _record(bench)[0] == _head(number)


def test_s2r_does_not_silence_stage_1() -> None:
    bench, _, _ = nested_bench(ste={"S2R": 0})
    bench.go(IOVA)

    assert _record(bench) == (_head(0x10), READ | IN, IOVA, 0)


def test_every_fault_is_a_record_of_its_own() -> None:
    """7.3.1: merging is allowed; this model never merges."""
    bench, _ = stage1_bench()
    bench.ste(**{**S1_STE, "MEV": 1})
    for _ in range(3):
        bench.go(IOVA)

    assert len(bench.events()) == 3


def test_tap_tells_of_recorded_and_of_silent_faults() -> None:
    bench, _ = stage1_bench()
    bench.ste(SID + 1, V=1, Config=0)
    heard: list[bytes | None] = []
    bench.smmu.tap.listen(lambda event: heard.append(event.record))
    bench.go(IOVA)
    bench.go(IOVA, sid=SID + 1)
    [record] = bench.events()

    assert heard == [record.to_bytes(32, "little"), None]
