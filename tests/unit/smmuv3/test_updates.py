# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures that change while they are in use, and the SMMU switched off and on.

Spec: IHI 0070 3.21.1 (translation tables), 3.21.3 (configuration structures and their recipes),
3.11, 6.3.9.3 to 6.3.9.6 (enables), 4.7.3 (what SYNC has completed), 3.5.1 (indexes).
"""

from __future__ import annotations

import pytest

from smmu_emu.transaction import Fault, Translation
from tests.unit.smmuv3.rig import (
    BLOCK,
    CFGI_ALL,
    GUEST,
    NG,
    NOWHERE,
    PLAIN_CD,
    RAM,
    RW,
    S1_STE,
    S2_STE,
    SID,
    STREAM_TABLE,
    SYNC,
    Bench,
    Tree,
    cmd,
    nested_bench,
    put,
    stage1_bench,
)
from tests.unit.smmuv3.spec import literals

IOVA = 0x5000
OLD, NEW = 0x100_0000_0000, 0x200_0000_0000
OWN = RW | NG
STE_AT = STREAM_TABLE + 64 * SID
CFGI_STE = cmd("CFGI_STE", StreamID=SID, Leaf=1)


def _doublewords(word: int) -> list[int]:
    return [word >> 64 * number & (1 << 64) - 1 for number in range(8)]


# -- recipes


def test_stream_is_made_valid_by_the_recipe_without_a_bad_ste() -> None:
    """3.21.3.1: fill with V 0, CFGI, SYNC, V 1, CFGI, SYNC; traffic sees abort-free old or new."""
    bench = Bench()
    tree = Tree(bench)
    tree.page(IOVA, NEW)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    bench.ste(V=1, Config=0b000)
    words = _doublewords(put(literals.STE, **S1_STE))
    answers = []
    for number in range(7, 0, -1):
        bench.write64(STE_AT + 8 * number, words[number])
        answers.append(bench.go(IOVA))
    bench.do(CFGI_STE)
    bench.write64(STE_AT, words[0])
    bench.do(CFGI_STE)
    answers.append(bench.go(IOVA))

    assert [isinstance(answer, Translation) for answer in answers] == [False] * 7 + [True]
    assert not bench.events()


def test_stream_is_retired_by_the_recipe() -> None:
    """3.21.3.1: V 0 (or Config abort), CFGI, SYNC; then the rest may change."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    assert bench.pa(IOVA) == OLD
    bench.write64(STE_AT, 1)
    assert bench.pa(IOVA) == OLD, "the cached STE acts until it is invalidated"
    bench.do(CFGI_STE)
    assert isinstance(bench.go(IOVA), Fault)
    for number in range(1, 8):
        bench.write64(STE_AT + 8 * number, 0xFFFF_FFFF_FFFF_FFFF)

    assert not bench.events()


def test_invalidation_left_out_leaves_the_old_configuration() -> None:
    """UP3: a step of the recipe is missing."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    bench.ste(V=1, Config=0b100, SHCFG=1)

    assert bench.pa(IOVA) == OLD


def test_live_change_of_one_doubleword_needs_no_invalid_state() -> None:
    """3.21.3: one 64-bit word may change at once; seen whole after CFGI."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    other = Tree(bench)
    other.page(IOVA, NEW, OWN)
    at = bench.alloc(64)
    bench.cd(at, **{**PLAIN_CD, "TTB0": other.root, "ASID": 9})
    bench.write64(STE_AT, _doublewords(put(literals.STE, **{**S1_STE, "S1ContextPtr": at}))[0])
    bench.do(CFGI_STE, cmd("TLBI_NSNH_ALL"))

    assert bench.pa(IOVA) == NEW


def test_torn_structure_acts_torn() -> None:
    """UP3: a change of several words without the recipe is seen as it stands in memory."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    new = _doublewords(put(literals.STE, **{**S2_STE, "S2TTB": tree.root}))
    bench.write64(STE_AT, new[0])  # Config says stage 2, its fields are still zero

    assert bench.code(IOVA) == 0x04


def test_cd_is_replaced_by_the_recipe() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD, OWN)
    bench.pa(IOVA)
    other = Tree(bench)
    other.page(IOVA, NEW, OWN)
    bench.cd(V=0)
    bench.do(cmd("CFGI_CD", StreamID=SID, Leaf=1))
    assert bench.code(IOVA) == 0x0A
    bench.cd(**{**PLAIN_CD, "TTB0": other.root, "ASID": 9})
    bench.do(cmd("CFGI_CD", StreamID=SID, Leaf=1))

    assert bench.pa(IOVA) == NEW


# -- what is fetched


def test_invalid_pointers_are_never_followed() -> None:
    """3.21.3: no CD through a dead STE, no table through a dead CD or descriptor."""
    bench, tree = stage1_bench()
    bench.ste(**{**S1_STE, "V": 0, "S1ContextPtr": NOWHERE})
    config, walks = bench.watch("config"), bench.watch("walk")
    bench.go(IOVA)
    assert config == [STE_AT]
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "V": 0, "TTB0": tree.root})
    config.clear()
    bench.go(IOVA)
    assert len(config) == 2
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    tree.set(IOVA, 1, NOWHERE | 2)
    bench.go(IOVA)

    assert walks == [tree.at(IOVA, 1)]


def test_disabled_stage_fetches_nothing() -> None:
    """5.2: pointers of a stage that is off lead nowhere and are not used."""
    bench, _, second = nested_bench()
    bench.ste(**{**S2_STE, "S1ContextPtr": NOWHERE, "S2TTB": second.root})
    reads = bench.watch("config")
    bench.go(IOVA)

    assert reads == [STE_AT]


@pytest.mark.parametrize("command", [CFGI_STE, CFGI_ALL])
def test_no_old_structure_is_used_after_sync(command: int) -> None:
    """3.21.3, 4.7.3: completion of CFGI."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    bench.ste(V=1, Config=0b000)
    bench.cd(V=0)
    bench.push(command, SYNC)
    reads = bench.watch("config")

    assert isinstance(bench.go(IOVA), Fault)
    assert reads == [STE_AT]


# -- translation tables


def test_block_may_be_replaced_live_by_a_table() -> None:
    """3.21.1 with IDR3.BBML 2: old or new translation, no conflict, new after TLBI and SYNC."""
    bench, tree = stage1_bench()
    tree.set(0x40_0000, 2, OLD | RW | BLOCK)
    for offset in (0, 0x5000):
        bench.pa(0x40_0000 + offset)
    tree.set(0x40_0000, 2, 0)
    tree.page(0x40_0000, NEW)
    tree.page(0x40_1000, NEW + 0x1000)
    for offset in (0, 0x1000):
        assert bench.pa(0x40_0000 + offset) in (OLD + offset, NEW + offset)
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=0x40_0000))

    assert [bench.pa(0x40_0000 + offset) for offset in (0, 0x1000)] == [NEW, NEW + 0x1000]
    assert bench.code(0x40_5000) == 0x10


def test_table_may_be_replaced_live_by_a_block() -> None:
    """Pages of the old size that are still cached go with an invalidation of the block's range."""
    bench, tree = stage1_bench()
    for number in range(3):
        tree.page(0x40_0000 + (number << 12), OLD + (number << 12))
        bench.pa(0x40_0000 + (number << 12))
    tree.set(0x40_0000, 2, NEW | RW | BLOCK)
    for number in range(4):
        pa = bench.pa(0x40_0000 + (number << 12))
        assert pa in (OLD + (number << 12), NEW + (number << 12))
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=0x40_0000, TG=1, NUM=15, SCALE=5))

    for number in range(4):
        assert bench.pa(0x40_0000 + (number << 12)) == NEW + (number << 12)


def test_unmap_is_complete_when_sync_is() -> None:
    """4.4, 4.7.3: no translation of the old table after the SYNC."""
    bench, first, _ = nested_bench()
    first.page(IOVA, RAM + GUEST)
    bench.pa(IOVA)
    first.set(IOVA, 3, 0)
    bench.push(cmd("TLBI_NH_VA", VMID=7, ASID=3, Address=IOVA), cmd("SYNC", CS=1))

    assert bench.smmu.interrupts.cmdq_sync.pulses == 1
    assert bench.code(IOVA) == 0x10


# -- enables


def test_translation_changes_as_a_whole_with_smmuen() -> None:
    """6.3.9.6: wholly old or wholly new."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    seen = []
    for cr0 in (0xD, 0xC, 0xD):
        bench.w("CR0", cr0)
        seen.append(bench.pa(IOVA))

    assert seen == [OLD, IOVA, OLD]


def test_disabled_command_queue_shows_where_it_stopped() -> None:
    """6.3.9.3: CONS is final and nothing is fetched."""
    bench = Bench()
    bench.do(SYNC)
    bench.w("CR0", 0x5)
    reads = bench.watch("command-queue")
    bench.push(SYNC, SYNC)
    assert bench.r("CMDQ_CONS") == 2
    bench.w("GERRORN", 0)

    assert reads == []


def test_disabled_event_queue_is_not_written() -> None:
    """6.3.9.4."""
    bench = Bench()
    bench.go(0, sid=0x5000)
    bench.w("CR0", 0x9)
    writes: list[int] = []
    bench.smmu.ports["event-queue"].write = lambda pa, data: bool(writes.append(pa)) or True
    bench.go(0, sid=0x5001)

    assert writes == []
    assert bench.r("EVENTQ_PROD") == 1


def test_reset_leaves_nothing_enabled_and_nothing_cached() -> None:
    """3.11: what caches hold after reset is a choice; here they are empty."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    bench.smmu.reset()
    assert bench.pa(IOVA) == IOVA
    tree.page(IOVA, NEW)
    bench.set_up()

    assert bench.pa(IOVA) == NEW


def test_caches_outlive_a_restart_without_invalidation() -> None:
    """3.11: software has to invalidate before it enables translation."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.w("CR0", 0)
    bench.w("STRTAB_BASE", STREAM_TABLE)
    bench.w("CR0", 0xD)
    assert bench.pa(IOVA) == OLD
    bench.forget()

    assert bench.pa(IOVA) == NEW


@pytest.mark.parametrize(("prod", "cons"), [(3, 5), (0x1FF, 0), (0x100, 0x1FF)])
def test_index_pairs_that_cannot_be_do_no_harm(prod: int, cons: int) -> None:
    """3.5.1, 3.21.2: one of the permitted outcomes, and an end."""
    bench = Bench(setup=False)
    bench.w("CMDQ_BASE", 0x4002_0000 | 8)
    for entry in range(256):
        bench.store(0x4002_0000 + 16 * entry, SYNC, 16)
    bench.w("CMDQ_CONS", cons)
    bench.w("CMDQ_PROD", prod)
    bench.w("CR0", 8)

    assert bench.r("CMDQ_CONS") & 0x1FF in (prod, cons)


# -- contiguous STEs


def test_contiguous_hint_never_answers_for_a_neighbour() -> None:
    """5.2 CONT: the requested STE may always be used as it is, and is."""
    bench = Bench()
    bench.ste(SID, V=1, Config=0b100, SHCFG=1, CONT=3)
    bench.ste(SID + 1, V=1, Config=0b000, CONT=3)
    assert bench.pa(IOVA) == IOVA

    assert isinstance(bench.go(IOVA, sid=SID + 1), Fault)
    assert not bench.events()
