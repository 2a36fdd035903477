# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may read, write and execute: the whole of both stages' permission tables.

The expected rights are written out from the tables of DDI 0487 D8.4 and the pseudocode's rules
(AArch64.S1DirectBasePermissions), not computed by the product.

Spec: IHI 0070 5.4 (WXN, UWXN, PAN, HAD), 13.4.1, 13.1.2; 5.2 (PRIVCFG, INSTCFG), 6.3.4 XNX.
"""

from __future__ import annotations

from itertools import product

import pytest

from smmu_emu.transaction import Translation
from tests.unit.smmuv3.rig import (
    AF,
    AP_TABLE_0,
    AP_TABLE_1,
    PLAIN_CD,
    PXN,
    PXN_TABLE,
    RAM,
    S1_STE,
    S2_WB,
    UXN,
    UXN_TABLE,
    Bench,
    Tree,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

IOVA = 0x5000
V3_0 = {"minor": 0, "RIL": 0, "BBML": 0}
"""The version in which HAD and XNX are optional."""


def _rights(bench: Bench, iova: int = IOVA) -> str:
    """What passes, cold and on hits: ``rwx`` unprivileged, then privileged."""
    letters = []
    for privileged in (False, True):
        for letter, write, instruction in (("r", 0, 0), ("w", 1, 0), ("x", 0, 1)):
            answers = []
            for _ in range(2):
                result = bench.go(
                    iova, bool(write), privileged=privileged, instruction=bool(instruction)
                )
                answers.append(isinstance(result, Translation))
            assert answers[0] == answers[1], "a hit must judge as the walk did"
            letters.append(letter if answers[0] else "-")
    bench.events()
    return "".join(letters[:3]) + " " + "".join(letters[3:])


# AP[2:1], UXN, PXN: rights of EL0 and EL1. EL0-writable memory is never privileged-executable.
STAGE_1 = {
    (0b00, 0, 0): "--x rwx",
    (0b00, 0, 1): "--x rw-",
    (0b00, 1, 0): "--- rwx",
    (0b00, 1, 1): "--- rw-",
    (0b01, 0, 0): "rwx rw-",
    (0b01, 0, 1): "rwx rw-",
    (0b01, 1, 0): "rw- rw-",
    (0b01, 1, 1): "rw- rw-",
    (0b10, 0, 0): "--x r-x",
    (0b10, 0, 1): "--x r--",
    (0b10, 1, 0): "--- r-x",
    (0b10, 1, 1): "--- r--",
    (0b11, 0, 0): "r-x r-x",
    (0b11, 0, 1): "r-x r--",
    (0b11, 1, 0): "r-- r-x",
    (0b11, 1, 1): "r-- r--",
}


def _leaf(ap: int, uxn: int, pxn: int) -> int:
    return AF | ap << 6 | uxn * UXN | pxn * PXN


@pytest.mark.parametrize(("ap", "uxn", "pxn"), list(STAGE_1))
def test_stage_1_leaf(ap: int, uxn: int, pxn: int) -> None:
    """13.4.1; DDI 0487 D8.4.1."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM, _leaf(ap, uxn, pxn))

    assert _rights(bench) == STAGE_1[ap, uxn, pxn]


HIERARCHY = [
    # APTable, UXNTable, PXNTable, leaf (AP, UXN, PXN), rights
    (0b00, 0, 0, (0b01, 0, 0), "rwx rw-"),
    (0b01, 0, 0, (0b01, 0, 0), "--x rwx"),
    (0b10, 0, 0, (0b01, 0, 0), "r-x r-x"),
    (0b11, 0, 0, (0b01, 0, 0), "--x r-x"),
    (0b01, 0, 0, (0b00, 0, 0), "--x rwx"),
    (0b10, 0, 0, (0b00, 0, 0), "--x r-x"),
    (0b01, 0, 0, (0b11, 0, 0), "--x r-x"),
    (0b10, 0, 0, (0b11, 1, 0), "r-- r-x"),
    (0b11, 0, 0, (0b10, 1, 1), "--- r--"),
    (0b00, 1, 0, (0b01, 0, 0), "rw- rw-"),
    (0b00, 0, 1, (0b00, 0, 0), "--x rw-"),
    (0b00, 1, 1, (0b11, 0, 0), "r-- r--"),
    (0b01, 0, 1, (0b01, 0, 0), "--x rw-"),
    (0b10, 1, 0, (0b01, 0, 0), "r-- r-x"),
    (0b11, 1, 1, (0b01, 0, 0), "--- r--"),
]


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(("ap_table", "uxn_table", "pxn_table", "leaf", "rights"), HIERARCHY)
def test_hierarchical_restrictions(
    ap_table: int,
    uxn_table: int,
    pxn_table: int,
    leaf: tuple[int, int, int],
    rights: str,
    level: int,
) -> None:
    """DDI 0487 D8.4 R_YTXKB: any level restricts, and a cached translation remembers it."""
    bench = Bench()
    tree = Tree(bench, 12, 48)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": 16, "TTB0": tree.root})
    tree.page(IOVA, RAM, _leaf(*leaf))
    where = tree.at(IOVA, level)
    word = bench.memory.read_u64(where)
    assert word is not None
    bits = ap_table << 61 | uxn_table * UXN_TABLE | pxn_table * PXN_TABLE
    bench.write64(where, word | bits)

    assert _rights(bench) == rights


def test_restrictions_of_several_levels_add_up() -> None:
    bench = Bench()
    tree = Tree(bench, 12, 48)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": 16, "TTB0": tree.root})
    tree.page(IOVA, RAM, _leaf(0b01, 0, 0))
    for level, bits in ((0, AP_TABLE_0), (1, AP_TABLE_1), (2, UXN_TABLE)):
        where = tree.at(IOVA, level)
        word = bench.memory.read_u64(where)
        assert word is not None
        bench.write64(where, word | bits)

    assert _rights(bench) == "--- r-x"


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("had", [0, 1])
def test_hierarchy_can_be_disabled_half_by_half(half: int, had: int) -> None:
    """5.4 HAD0, HAD1."""
    bench = Bench()
    tree = Tree(bench)
    fields = {"TTB0": tree.root, f"HAD{half}": had}
    iova = IOVA
    if half:
        fields |= {"EPD0": 1, "EPD1": 0, "T1SZ": 25, "TG1": 2, "TTB1": tree.root}
        iova |= 0x1FF_FFFF << 39
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, **fields})
    tree.at(iova, 3, table_bits=3 << 61 | UXN_TABLE | PXN_TABLE)
    tree.page(iova, RAM, _leaf(0b01, 0, 0))

    assert _rights(bench, iova) == ("rwx rw-" if had else "--- r--")


def test_had_of_the_other_half_does_not_count() -> None:
    bench, tree = stage1_bench(HAD1=1)
    tree.at(IOVA, 3, table_bits=3 << 61)
    tree.page(IOVA, RAM, _leaf(0b01, 0, 0))

    assert _rights(bench) == "--x r-x"


def test_had_is_ignored_without_the_feature() -> None:
    """6.3.4 HAD."""
    bench, tree = stage1_bench(make_ids(minor=0, HAD=0, RIL=0, BBML=0), HAD0=1)
    tree.at(IOVA, 3, table_bits=3 << 61)
    tree.page(IOVA, RAM, _leaf(0b01, 0, 0))

    assert _rights(bench) == "--x r-x"


@pytest.mark.parametrize(("ap", "uxn", "pxn"), list(STAGE_1))
def test_wxn_takes_execution_from_what_the_same_privilege_may_write(
    ap: int, uxn: int, pxn: int
) -> None:
    """5.4 WXN."""
    bench, tree = stage1_bench(WXN=1)
    tree.page(IOVA, RAM, _leaf(ap, uxn, pxn))
    expected = " ".join(
        rights.replace("x", "-") if "w" in rights else rights
        for rights in STAGE_1[ap, uxn, pxn].split()
    )

    assert _rights(bench) == expected


@pytest.mark.parametrize(("ap", "uxn", "pxn"), list(STAGE_1))
def test_uwxn_has_no_effect_on_64_bit_tables(ap: int, uxn: int, pxn: int) -> None:
    """5.4 UWXN: IGNORED for VMSAv8-64."""
    bench, tree = stage1_bench(UWXN=1)
    tree.page(IOVA, RAM, _leaf(ap, uxn, pxn))

    assert _rights(bench) == STAGE_1[ap, uxn, pxn]


@pytest.mark.parametrize(("ap", "uxn", "pxn"), list(STAGE_1))
def test_pan_takes_privileged_data_access_from_user_memory(ap: int, uxn: int, pxn: int) -> None:
    """5.4 PAN: data only, and only where unprivileged data access is permitted."""
    bench, tree = stage1_bench(PAN=1)
    tree.page(IOVA, RAM, _leaf(ap, uxn, pxn))
    user, privileged = STAGE_1[ap, uxn, pxn].split()
    if "r" in user:
        privileged = privileged.replace("r", "-").replace("w", "-")

    assert _rights(bench) == f"{user} {privileged}"


def test_pan_looks_at_permissions_after_the_hierarchy() -> None:
    """APTable[0] takes unprivileged access away, so that PAN does not bite."""
    bench, tree = stage1_bench(PAN=1)
    tree.at(IOVA, 3, table_bits=AP_TABLE_0)
    tree.page(IOVA, RAM, _leaf(0b01, 0, 0))

    assert _rights(bench) == "--x rwx"


def test_pan_with_wxn_leaves_unprivileged_rights_alone() -> None:
    bench, tree = stage1_bench(PAN=1, WXN=1)
    tree.page(IOVA, RAM, _leaf(0b01, 0, 0))

    assert _rights(bench) == "rw- ---"


# S2AP[1:0]: 00 none, 01 read, 10 write, 11 both
STAGE_2_DATA = {0: "--", 1: "r-", 2: "-w", 3: "rw"}


@pytest.mark.parametrize(("s2ap", "xn"), list(product(range(4), range(4))))
def test_stage_2_leaf_with_xnx(s2ap: int, xn: int) -> None:
    """6.3.4 XNX; DDI 0487 D8.4.2: XN 00 both, 01 EL0 only, 10 none, 11 EL1 only."""
    bench, tree = stage2_bench()
    tree.page(IOVA, RAM, AF | s2ap << 6 | xn << 53 | S2_WB)
    data = STAGE_2_DATA[s2ap]
    user, privileged = {0: "xx", 1: "x-", 2: "--", 3: "-x"}[xn]

    assert _rights(bench) == f"{data}{user} {data}{privileged}"


@pytest.mark.parametrize(("s2ap", "xn"), list(product(range(4), range(4))))
def test_stage_2_leaf_without_xnx(s2ap: int, xn: int) -> None:
    """Without XNX XN is bit 54 alone, and privilege does not count (13.4.3)."""
    bench, tree = stage2_bench(make_ids(minor=0, XNX=0, RIL=0, BBML=0))
    tree.page(IOVA, RAM, AF | s2ap << 6 | xn << 53 | S2_WB)
    execute = "-" if xn & 2 else "x"
    rights = STAGE_2_DATA[s2ap] + execute

    assert _rights(bench) == f"{rights} {rights}"


@pytest.mark.parametrize("ap", range(4))
@pytest.mark.parametrize("s2ap", range(4))
@pytest.mark.parametrize("xn", range(4))
def test_nested_access_needs_both_stages(ap: int, s2ap: int, xn: int) -> None:
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.page(IOVA, ipa, _leaf(ap, 0, 0))
    second.page(ipa, RAM, AF | s2ap << 6 | xn << 53 | S2_WB)
    data = STAGE_2_DATA[s2ap]
    executes = {0: "xx", 1: "x-", 2: "--", 3: "-x"}[xn]
    stage1 = STAGE_1[ap, 0, 0].split()
    expected = []
    for rights, execute in zip(stage1, executes, strict=True):
        second_rights = data + execute
        both = zip(rights, second_rights, strict=True)
        expected.append("".join(a if a == b else "-" for a, b in both))

    assert _rights(bench) == " ".join(expected)


# -- what the transaction is taken for


def test_writes_are_data_whatever_they_claim() -> None:
    """13.1.2: an instruction write is checked as a data write."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM, _leaf(0b01, 1, 1))
    assert bench.pa(IOVA, True, instruction=True) == RAM
    tree.page(0x6000, RAM, _leaf(0b10, 0, 0))

    assert bench.code(0x6000, True, instruction=True, privileged=True) == 0x13


@pytest.mark.parametrize("privcfg", range(4))
@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("feature", [0, 1])
def test_privilege_is_overridden_where_the_feature_exists(
    privcfg: int, privileged: bool, feature: int
) -> None:
    """5.2 PRIVCFG: 2 unprivileged, 3 privileged, else incoming; RES0 without ATTR_PERMS_OVR."""
    bench, tree = stage1_bench(make_ids(ATTR_PERMS_OVR=feature))
    bench.ste(**{**S1_STE, "PRIVCFG": privcfg})
    tree.page(IOVA, RAM, _leaf(0b00, 0, 0))
    effective = {2: False, 3: True}.get(privcfg, privileged) if feature else privileged
    passed = isinstance(bench.go(IOVA, True, privileged=privileged), Translation)

    assert passed is effective


@pytest.mark.parametrize("instcfg", range(4))
@pytest.mark.parametrize("instruction", [False, True])
@pytest.mark.parametrize("feature", [0, 1])
def test_instruction_is_overridden_where_the_feature_exists(
    instcfg: int, instruction: bool, feature: int
) -> None:
    """5.2 INSTCFG: 2 data, 3 instruction, for reads."""
    bench, tree = stage1_bench(make_ids(ATTR_PERMS_OVR=feature))
    bench.ste(**{**S1_STE, "INSTCFG": instcfg})
    tree.page(IOVA, RAM, _leaf(0b01, 1, 1))
    effective = {2: False, 3: True}.get(instcfg, instruction) if feature else instruction
    passed = isinstance(bench.go(IOVA, instruction=instruction), Translation)

    assert passed is not effective


def test_instruction_override_does_not_apply_to_writes() -> None:
    """5.2 INSTCFG only affects reads."""
    bench, tree = stage1_bench(make_ids(ATTR_PERMS_OVR=1))
    bench.ste(**{**S1_STE, "INSTCFG": 3})
    tree.page(IOVA, RAM, _leaf(0b01, 1, 1))

    assert bench.pa(IOVA, True) == RAM


def test_override_applies_to_stage_2_as_well() -> None:
    bench, tree = stage2_bench(make_ids(ATTR_PERMS_OVR=1), PRIVCFG=3, INSTCFG=3)
    tree.page(IOVA, RAM, AF | 3 << 6 | 3 << 53 | S2_WB)  # executable for EL1 only

    assert bench.pa(IOVA) == RAM


def test_privilege_of_two_streams_is_their_own_on_shared_translations() -> None:
    """5.2.1: PRIVCFG is never cached in a TLB."""
    bench, tree = stage1_bench(make_ids(ATTR_PERMS_OVR=1))
    bench.ste(9, **{**S1_STE, "PRIVCFG": 3})
    tree.page(IOVA, RAM, _leaf(0b00, 0, 0))
    assert bench.pa(IOVA, sid=9) == RAM
    assert bench.code(IOVA) == 0x13

    assert bench.pa(IOVA, sid=9) == RAM
